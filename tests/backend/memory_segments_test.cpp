#include "backend/memory_segments.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "random/random.h"

namespace eg4d {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

// Addresses that nobody reads or writes.
class Addresses final : public MemorySegments::Source {
 public:
  explicit Addresses(size_t bytes) : left_(bytes) {}
  void* take(size_t bytes) override {
    if (bytes > left_) return nullptr;
    left_ -= bytes;
    next_ += bytes + kMiB;
    ++taken;
    taken_[next_ - bytes] = bytes;
    return reinterpret_cast<void*>(next_ - bytes);
  }
  void give_back(void* segment) noexcept override {
    const auto found = taken_.find(reinterpret_cast<size_t>(segment));
    ASSERT_NE(found, taken_.end());
    left_ += found->second;
    taken_.erase(found);
  }
  size_t held() const {
    size_t sum = 0;
    for (const auto& [address, bytes] : taken_) sum += bytes;
    return sum;
  }
  int taken = 0;  // so often

 private:
  size_t left_, next_ = kMiB;
  std::map<size_t, size_t> taken_;
};

struct Allocator {
  explicit Allocator(size_t most, size_t there = SIZE_MAX / 2)
      : room(most), source(there), segments(source) {}
  void* take(size_t bytes) {
    return segments.allocate(bytes, [this] { return room; });
  }
  size_t room;
  Addresses source;
  MemorySegments segments;
};

TEST(MemorySegments, WhatWasReleasedServesTheNextOfAboutItsSize) {
  Allocator all(1000 * kMiB);
  void* const first = all.take(100 * kMiB);
  all.segments.release(first, 100 * kMiB);
  EXPECT_EQ(all.segments.unused(), 100 * kMiB);
  EXPECT_EQ(all.take(95 * kMiB), first);
  EXPECT_EQ(all.source.taken, 1);
  EXPECT_EQ(all.segments.unused(), 0u);
  EXPECT_EQ(all.segments.reserved(), 100 * kMiB);
  all.segments.release(first, 95 * kMiB);
  EXPECT_NE(all.take(20 * kMiB), first);  // much would lie idle
}

TEST(MemorySegments, WhatIsInTheWayIsGivenBack) {
  Allocator all(100 * kMiB);
  void* const small = all.take(10 * kMiB);
  for (int i = 0; i < 3; ++i) {
    void* const large = all.take(90 * kMiB);
    ASSERT_TRUE(large);
    all.segments.release(large, 90 * kMiB);
    void* const other = all.take(40 * kMiB);
    ASSERT_TRUE(other);
    EXPECT_EQ(all.source.held(), 50 * kMiB);
    all.segments.release(other, 40 * kMiB);
  }
  EXPECT_FALSE(all.take(91 * kMiB));
  all.segments.release(small, 10 * kMiB);
  EXPECT_TRUE(all.take(99 * kMiB));
  EXPECT_EQ(all.segments.peak(), 100 * kMiB);
}

TEST(MemorySegments, WhatCannotBeGivenLeavesTheRestAsItIs) {
  Allocator all(100 * kMiB);
  all.segments.release(all.take(50 * kMiB), 50 * kMiB);
  EXPECT_FALSE(all.take(101 * kMiB));
  EXPECT_EQ(all.segments.unused(), 50 * kMiB);
}

TEST(MemorySegments, SmallOnesShareASegment) {
  Allocator all(4 * kMiB);
  std::vector<void*> taken;
  for (int i = 0; i < 16; ++i) taken.push_back(all.take(kMiB / 4));
  EXPECT_EQ(all.source.taken, 1);
  EXPECT_EQ(std::set<void*>(taken.begin(), taken.end()).size(), 16u);
  EXPECT_FALSE(all.take(256));
  // Neighbours become one gap again, from either side.
  for (const int i : {4, 6, 5}) all.segments.release(taken[static_cast<size_t>(i)], kMiB / 4);
  EXPECT_EQ(all.take(kMiB * 3 / 4), taken[4]);
}

TEST(MemorySegments, ADeviceWithLessThanTheRoomIsNoError) {
  Allocator all(1000 * kMiB, 100 * kMiB);
  all.segments.release(all.take(60 * kMiB), 60 * kMiB);
  EXPECT_TRUE(all.take(80 * kMiB));  // once the other is given back
  EXPECT_FALSE(all.take(30 * kMiB));
  EXPECT_EQ(all.segments.reserved(), all.source.held());
}

TEST(MemorySegments, NothingOverlapsAndTheRoomIsKept) {
  Allocator all(200 * kMiB);
  Philox numbers(3);
  std::map<char*, size_t> alive;
  for (int i = 0; i < 5000; ++i) {
    const float kind = numbers.uniform(), size = numbers.uniform();
    const size_t bytes = 256 * (1 + static_cast<size_t>(size * (kind < 0.7f ? 4000 : 100000)));
    if (auto* const memory = static_cast<char*>(all.take(bytes))) {
      const auto after = alive.upper_bound(memory);
      if (after != alive.end()) {
        ASSERT_LE(memory + bytes, after->first);
      }
      if (after != alive.begin()) {
        const auto before = std::prev(after);
        ASSERT_LE(before->first + before->second, memory);
      }
      alive[memory] = bytes;
    }
    while (!alive.empty() && numbers.uniform() < 0.5f) {
      auto gone = alive.begin();
      std::advance(gone, numbers.below(static_cast<uint32_t>(alive.size())));
      all.segments.release(gone->first, gone->second);
      alive.erase(gone);
    }
    ASSERT_LE(all.segments.reserved(), all.room);
    ASSERT_EQ(all.segments.reserved(), all.source.held());
  }
  for (const auto& [memory, bytes] : alive) all.segments.release(memory, bytes);
  EXPECT_EQ(all.segments.unused(), all.segments.reserved());
}

}  // namespace
}  // namespace eg4d
