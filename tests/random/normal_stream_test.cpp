#include "random/normal_stream.h"

#include <gtest/gtest.h>

#include "random/random.h"

namespace eg4d {
namespace {

// The n-th number depends on the seed and n alone, however many are drawn at a time.
TEST(NormalStream, PhiloxDrawsInBlocksWhatItDrawsOneByOne) {
  const auto stream = make_normal_stream("philox", 42);
  Philox random(42);
  for (const size_t count : {size_t{1}, size_t{3}, size_t{0}, size_t{16384}, size_t{100001}, size_t{2}}) {
    std::vector<float> drawn(count);
    stream->draw(drawn);
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(drawn[i], random.normal()) << i << " of " << count;
  }
}

}  // namespace
}  // namespace eg4d
