#pragma once

// Putting things in order with all threads; the results do not depend on their number.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/threads.h"

namespace eg4d::cpu {

// Sorts by the upper 32 bits of the keys, equal ones stay in order. `other` is room for as many. Returns the
// sorted array, one of the two.
uint64_t* sort_by_upper_half(uint64_t* keys, uint64_t* other, int64_t count);

// The numbers below `count` that are wanted, in order, into selected[count]; returns how many.
template <class Wanted>
int64_t select_indices(int64_t count, int32_t* selected, const Wanted& wanted) {
  constexpr int64_t kGrain = 1024;
  std::vector<int64_t> found(static_cast<size_t>((count + kGrain - 1) / kGrain));
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    int64_t next = begin;
    for (int64_t i = begin; i < end; ++i)
      if (wanted(i)) selected[next++] = static_cast<int32_t>(i);
    found[static_cast<size_t>(begin / kGrain)] = next - begin;
  });
  int64_t total = 0;
  for (size_t chunk = 0; chunk < found.size(); total += found[chunk++]) {
    const int32_t* from = selected + static_cast<int64_t>(chunk) * kGrain;
    if (from != selected + total)
      std::memmove(selected + total, from, static_cast<size_t>(found[chunk]) * sizeof(int32_t));
  }
  return total;
}

}  // namespace eg4d::cpu
