#include "backend/cpu/ordering.h"

#include <array>
#include <utility>

namespace eg4d::cpu {
namespace {

constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
using Positions = std::array<int32_t, kDigits>;

// What all keys have in their upper halves: base + something of `range` at most.
struct Range {
  uint64_t smallest = UINT64_MAX, largest = 0;

  void include(const Range& other) {
    smallest = std::min(smallest, other.smallest);
    largest = std::max(largest, other.largest);
  }
  uint64_t base() const { return smallest >> 32; }
  uint64_t length() const { return (largest >> 32) - base(); }
};

Range range_of(const uint64_t* keys, int64_t begin, int64_t end) {
  Range range;
  for (int64_t i = begin; i < end; ++i) range.include({keys[i], keys[i]});
  return range;
}

// Where this thread's keys of every digit begin: behind those of smaller digits, and of the same digit in the
// threads before.
Positions first_positions(const std::vector<Positions>& counts, int thread) {
  Positions before = {}, all = {};
  for (size_t t = 0; t < counts.size(); ++t)
    for (size_t d = 0; d < kDigits; ++d) {
      before[d] += static_cast<int>(t) < thread ? counts[t][d] : 0;
      all[d] += counts[t][d];
    }
  int32_t sum = 0;
  for (size_t d = 0; d < kDigits; ++d) before[d] += std::exchange(sum, sum + all[d]);
  return before;
}

}  // namespace

// Least significant digit first, over those bits in which the keys differ: every thread counts the digits of
// its keys, then moves them.
uint64_t* sort_by_upper_half(uint64_t* keys, uint64_t* other, int64_t count) {
  if (count < 2) return keys;
  const auto threads = static_cast<size_t>(thread_count());
  std::vector<Range> ranges(threads);
  std::vector<Positions> counts(threads);
  uint64_t* sorted = keys;
  parallel_team([&](const Team& team) {
    const auto self = static_cast<size_t>(team.number);
    const int64_t begin = team.begin(count), end = team.end(count);
    ranges[self] = range_of(keys, begin, end);
    team.wait();
    Range range;
    for (const Range& one : ranges) range.include(one);
    const uint64_t base = range.base(), length = range.length();
    uint64_t *from = keys, *to = other;
    for (int shift = 0; (length >> shift) != 0; shift += kDigitBits) {
      const auto digit = [&](uint64_t key) { return (((key >> 32) - base) >> shift) & (kDigits - 1); };
      counts[self].fill(0);
      for (int64_t i = begin; i < end; ++i) ++counts[self][digit(from[i])];
      team.wait();
      Positions position = first_positions(counts, team.number);
      for (int64_t i = begin; i < end; ++i) to[position[digit(from[i])]++] = from[i];
      team.wait();
      std::swap(from, to);
    }
    if (team.number == 0) sorted = from;
  });
  return sorted;
}

}  // namespace eg4d::cpu
