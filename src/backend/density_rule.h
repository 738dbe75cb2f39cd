#pragma once

// The rule of DecideDensity (density_ops.h) for one Gaussian: what every backend decides by. Plain enough for
// kernels, whose compiler takes constexpr functions on the device too.

#include <cstdint>

#include "backend/density_ops.h"

namespace eg4d {

constexpr bool density_all_finite(const float* values, int count) {
  for (int k = 0; k < count; ++k)
    if (!(values[k] - values[k] == 0)) return false;  // NaN for infinity, too
  return true;
}

constexpr uint8_t density_fate(const DecideDensity& a, int64_t i) {
  const float* scales = a.log_scales + 3 * i;
  const float logit = a.opacity_logits[i];
  const bool astray = !density_all_finite(a.positions + 3 * i, 3) || !density_all_finite(scales, 3) ||
                      !density_all_finite(a.quaternions + 4 * i, 4) || !density_all_finite(&logit, 1);
  float size = scales[0];
  if (size < scales[1]) size = scales[1];
  if (size < scales[2]) size = scales[2];
  bool grows = false;
  if (a.gradient_sum && !astray) {
    const float views = a.views[i];
    grows = (views > 0 ? a.gradient_sum[i] / views : 0.0f) >= a.gradient;
    if (a.importance) grows = grows && a.importance[3 * i + 1] >= a.least_error;
  }
  const bool split = grows && size > a.dense_size;
  if (split) size -= kSplitLogScale;
  if (a.prune && (astray || logit < a.smallest_logit || size > a.largest_size ||
                  (a.max_radii && a.max_radii[i] > a.largest_radius) ||
                  (a.importance && a.importance[3 * i] < a.least_weight)))
    return 0;
  if (split) return kDensitySplit;
  return static_cast<uint8_t>(grows ? kDensityKept | kDensityCloned : kDensityKept);
}

}  // namespace eg4d
