#include "pipeline/memory_message.h"

#include <gtest/gtest.h>

namespace eg4d {
namespace {

constexpr size_t kGiB = size_t{1} << 30;

TEST(MemoryMessage, SaysNothingWhereNothingIsShort) {
  EXPECT_EQ(memory_message({}), "");
  EXPECT_EQ(memory_message({.peak = 9 * kGiB, .available = kGiB}), "");
}

TEST(MemoryMessage, IsOneLine) {
  EXPECT_EQ(memory_message({.cap = 8 * kGiB, .peak = 6 * kGiB}),
            "device memory: at most 6.00 GiB of the 8.00 GiB of --memory");
  EXPECT_EQ(
      memory_message({.cap = 6 * kGiB, .peak = 6 * kGiB - kGiB / 4, .streamed = kGiB / 2}),
      "device memory: at most 5.75 GiB of the 6.00 GiB of --memory; 512 MiB of weights wait in the host's "
      "memory");
  EXPECT_EQ(memory_message({.peak = 4 * kGiB, .streamed = kGiB}),
            "device memory: at most 4.00 GiB; 1.00 GiB of weights wait in the host's memory");
}

}  // namespace
}  // namespace eg4d
