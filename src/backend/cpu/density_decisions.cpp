#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "backend/cpu/splat_kernels.h"
#include "backend/density_rule.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

constexpr int64_t kGrain = 8192;

constexpr std::array<uint8_t, 3> kFates{kDensityKept, kDensityCloned, kDensitySplit};  // as in `totals`

}  // namespace

void decide_density(const DecideDensity& a) {
  parallel_for(a.count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) a.fates[i] = density_fate(a, i);
  });
}

// Counts by chunk, sums them up to where each chunk writes, then writes.
void density_rows(const DensityRows& a) {
  std::vector<std::array<int32_t, 3>> next(static_cast<size_t>((a.count + kGrain - 1) / kGrain));
  parallel_for(a.count, kGrain, [&](int64_t begin, int64_t end) {
    std::array<int32_t, 3> found{};
    for (int64_t i = begin; i < end; ++i)
      for (size_t k = 0; k < kFates.size(); ++k) found[k] += (a.fates[i] & kFates[k]) != 0;
    next[static_cast<size_t>(begin / kGrain)] = found;
  });
  std::array<int32_t, 3> totals{};
  for (auto& chunk : next)
    for (size_t k = 0; k < totals.size(); ++k) totals[k] += std::exchange(chunk[k], totals[k]);

  const bool nothing_left = a.count > 0 && totals == std::array<int32_t, 3>{};
  if (nothing_left) {
    a.rows[0] = 0;
    totals[0] = 1;
  }
  std::copy(totals.begin(), totals.end(), a.totals);
  if (nothing_left) return;

  int32_t* const kept = a.rows;
  int32_t* const cloned = kept + totals[0];
  int32_t* const first_parts = cloned + totals[1];
  int32_t* const second_parts = first_parts + totals[2];
  parallel_for(a.count, kGrain, [&](int64_t begin, int64_t end) {
    auto [to_kept, to_cloned, to_split] = next[static_cast<size_t>(begin / kGrain)];
    for (int64_t i = begin; i < end; ++i) {
      const auto row = static_cast<int32_t>(i);
      if (a.fates[i] & kDensityKept) kept[to_kept++] = row;
      if (a.fates[i] & kDensityCloned) cloned[to_cloned++] = row;
      if (a.fates[i] & kDensitySplit) first_parts[to_split] = second_parts[to_split] = row, ++to_split;
    }
  });
}

}  // namespace eg4d::cpu
