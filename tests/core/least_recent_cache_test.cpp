#include "core/least_recent_cache.h"

#include <gtest/gtest.h>

#include <memory>

namespace eg4d {
namespace {

TEST(LeastRecentCache, KeepsWhatWasAskedForLast) {
  LeastRecentCache<int, std::unique_ptr<int>> cache(3);
  for (const int key : {1, 2, 3}) cache.insert(key, std::make_unique<int>(10 * key));
  ASSERT_TRUE(cache.find(1));
  EXPECT_EQ(**cache.find(1), 10);
  EXPECT_EQ(*cache.insert(4, std::make_unique<int>(40)), 40);
  EXPECT_FALSE(cache.find(2));  // the oldest but for 1, which was asked for since
  for (const int key : {1, 3, 4}) EXPECT_TRUE(cache.find(key)) << key;
  for (int key = 5; key < 1000; ++key) cache.insert(key, std::make_unique<int>(key));
  EXPECT_EQ(cache.size(), 3u);
  EXPECT_EQ(**cache.find(997), 997);
  EXPECT_FALSE(cache.find(996));
}

}  // namespace
}  // namespace eg4d
