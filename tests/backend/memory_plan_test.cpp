#include "backend/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace eg4d {
namespace {

constexpr size_t kGiB = size_t{1} << 30, kMiB = size_t{1} << 20;

TEST(MemoryBudget, WithoutACapIsTheDevices) {
  const MemoryBudget budget(0, 16 * kGiB, 15 * kGiB, kGiB / 2, 0);
  EXPECT_EQ(budget.cap(), 0u);
  EXPECT_EQ(budget.for_allocations(), SIZE_MAX);
  // 4 GiB are reserved, 3 of them allocated; 11 GiB of the device are free.
  EXPECT_EQ(budget.available(3 * kGiB, 11 * kGiB, 4 * kGiB), 12 * kGiB);
}

TEST(MemoryBudget, KeepsWhatIsToComeFree) {
  const MemoryBudget budget(8 * kGiB, 16 * kGiB, 15 * kGiB, kGiB / 2, kGiB / 4);
  EXPECT_EQ(budget.cap(), 8 * kGiB);
  EXPECT_EQ(budget.outside(), kGiB / 2);
  EXPECT_EQ(budget.for_allocations(), 8 * kGiB - 3 * kGiB / 4);
  EXPECT_EQ(budget.available(7 * kGiB, 8 * kGiB, 7 * kGiB), kGiB / 4);
  EXPECT_EQ(budget.available(8 * kGiB, 7 * kGiB, 8 * kGiB), 0u);
}

TEST(MemoryBudget, AboveTheDevicesMemoryIsTheDevices) {
  EXPECT_EQ(MemoryBudget(24 * kGiB, 16 * kGiB, 15 * kGiB, kGiB, 0).cap(), 16 * kGiB);
}

TEST(MemoryBudget, CountsWhatLibrariesTakeMeanwhile) {
  MemoryBudget budget(8 * kGiB, 16 * kGiB, 15 * kGiB, kGiB / 2, kGiB / 4);
  budget.observe(13 * kGiB, 2 * kGiB);  // all that has gone is allocations
  EXPECT_EQ(budget.outside(), kGiB / 2);
  budget.observe(13 * kGiB - kGiB / 8, 2 * kGiB);  // as was expected
  EXPECT_EQ(budget.outside(), kGiB * 5 / 8);
  EXPECT_EQ(budget.for_allocations(), 8 * kGiB - 3 * kGiB / 4);
  budget.observe(12 * kGiB, 2 * kGiB);
  EXPECT_EQ(budget.outside(), kGiB * 3 / 2);
  EXPECT_EQ(budget.for_allocations(), 8 * kGiB - kGiB * 3 / 2);
  budget.observe(13 * kGiB, 2 * kGiB);  // it was once so much
  EXPECT_EQ(budget.outside(), kGiB * 3 / 2);
  budget.observe(0, 2 * kGiB);  // another process
  EXPECT_EQ(budget.outside(), kGiB * 5 / 2);
}

TEST(MemoryBudget, ACapBelowWhatIsTakenLeavesNothing) {
  const MemoryBudget budget(kGiB / 4, 16 * kGiB, 15 * kGiB, kGiB / 2, 0);
  EXPECT_EQ(budget.for_allocations(), 0u);
}

size_t sum_of(const std::vector<size_t>& blocks, const std::vector<size_t>& chosen) {
  size_t sum = 0;
  for (const size_t index : chosen) sum += blocks.at(index);
  return sum;
}

TEST(BlocksToStream, AreEnoughAndNotMuchMore) {
  std::vector<size_t> blocks;
  for (size_t i = 0; i < 40; ++i) blocks.push_back((i * 37 % 64 + 1) * kMiB);
  const size_t all = std::accumulate(blocks.begin(), blocks.end(), size_t{0});
  for (const size_t needed : {size_t{1}, 10 * kMiB, 100 * kMiB, all / 2, all - 1, all}) {
    const std::vector<size_t> chosen = blocks_to_stream(blocks, needed);
    EXPECT_GE(sum_of(blocks, chosen), needed);
    EXPECT_LE(sum_of(blocks, chosen), needed + 64 * kMiB);
    EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
  }
  EXPECT_EQ(blocks_to_stream(blocks, all + 1).size(), blocks.size());
  EXPECT_TRUE(blocks_to_stream(blocks, 0).empty());
  EXPECT_TRUE(blocks_to_stream({}, 5).empty());
}

TEST(BlocksToStream, LieEvenlySpread) {
  const std::vector<size_t> blocks(40, kMiB);
  const std::vector<size_t> chosen = blocks_to_stream(blocks, 10 * kMiB);
  ASSERT_EQ(chosen.size(), 10u);
  for (size_t i = 0; i + 1 < chosen.size(); ++i) EXPECT_EQ(chosen[i + 1] - chosen[i], 4u);
}

// What a stream of copies and a stream of work do with the places: nothing is overwritten before it was used.
TEST(StreamRing, NothingIsOverwrittenBeforeItWasUsed) {
  constexpr size_t kCapacity = 4096;
  StreamRing ring(kCapacity);
  struct Thing {
    size_t begin, end;
  };
  std::vector<Thing> things;
  for (size_t i = 0; i < 500; ++i) {
    const size_t bytes = i * 7919 % 1024 + 1;
    const StreamRing::Place place = ring.add(bytes);
    EXPECT_EQ(place.offset % 256, 0u);
    EXPECT_LE(place.offset + bytes, kCapacity);
    // Half of the ring holds the next two however they lie: they need not wait for each other.
    EXPECT_LT(place.after, std::max<int64_t>(static_cast<int64_t>(i) - 1, 0));
    // Or something before waited for it, and copies are made in order: such things are gone.
    for (size_t j = 0; j < things.size(); ++j) {
      const bool overlaps = things[j].begin < place.offset + bytes && place.offset < things[j].end;
      EXPECT_TRUE(!overlaps || place.after >= static_cast<int64_t>(j)) << j << " is overwritten by " << i;
    }
    // What was waited for is gone.
    for (int64_t j = 0; j <= place.after; ++j) things[static_cast<size_t>(j)] = {0, 0};
    things.push_back({place.offset, place.offset + bytes});
  }
}

TEST(StreamRing, RefusesWhatIsLarger) {
  StreamRing ring(1000);
  EXPECT_EQ(ring.add(1000).offset, 0u);
  EXPECT_EQ(ring.add(1000).after, 0);
  EXPECT_THROW(ring.add(1001), std::logic_error);
}

}  // namespace
}  // namespace eg4d
