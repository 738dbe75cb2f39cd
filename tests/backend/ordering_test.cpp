#include "backend/cpu/ordering.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace eg4d::test {
namespace {

class OrderingOnCpu : public testing::TestWithParam<int> {
 protected:
  OrderingOnCpu() { set_thread_count(GetParam()); }
  ~OrderingOnCpu() override { set_thread_count(before_); }

  const int before_ = thread_count();
  std::mt19937_64 random_{7};
};

// The lower halves tell equal keys apart; they come in no order of their own.
std::vector<uint64_t> sorted_plainly(std::vector<uint64_t> keys) {
  std::stable_sort(keys.begin(), keys.end(), [](uint64_t a, uint64_t b) { return a >> 32 < b >> 32; });
  return keys;
}

TEST_P(OrderingOnCpu, SortsByTheUpperHalfAndKeepsEqualOnesInOrder) {
  for (const size_t count : {0, 1, 2, 31, 1000, 20011})
    for (const uint64_t different : {1ull, 2ull, 300ull, 1ull << 21, 1ull << 32}) {
      std::vector<uint64_t> keys(count), other(count);
      for (uint64_t& key : keys) key = (0x3f800000 + random_() % different) << 32 | (random_() & 0xffffffff);
      const std::vector<uint64_t> wanted = sorted_plainly(keys);
      const uint64_t* sorted =
          cpu::sort_by_upper_half(keys.data(), other.data(), static_cast<int64_t>(count));
      EXPECT_TRUE(sorted == keys.data() || sorted == other.data());
      EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), sorted)) << count << " keys, " << different;
    }
}

TEST_P(OrderingOnCpu, SelectsInOrder) {
  for (const int count : {0, 1, 31, 1024, 1025, 10007})
    for (const unsigned share : {0u, 1u, 2u, 100u}) {
      std::vector<char> wanted(static_cast<size_t>(count));
      std::vector<int32_t> expected, selected(static_cast<size_t>(count));
      for (int i = 0; i < count; ++i) {
        wanted[static_cast<size_t>(i)] = share == 100 || random_() % 3 < share;
        if (wanted[static_cast<size_t>(i)]) expected.push_back(i);
      }
      const int64_t found = cpu::select_indices(
          count, selected.data(), [&](int64_t i) { return wanted[static_cast<size_t>(i)] != 0; });
      selected.resize(static_cast<size_t>(found));
      EXPECT_EQ(selected, expected) << count << ", " << share;
    }
}

INSTANTIATE_TEST_SUITE_P(Threads, OrderingOnCpu, testing::Values(1, 2, 3, 7));

}  // namespace
}  // namespace eg4d::test
