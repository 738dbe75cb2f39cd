#pragma once

#include <cmath>

#include "fuzz.h"
#include "io/ply.h"

namespace eg4d::fuzz {

// What every reader of Gaussians promises: arrays that fit, and no number that is not one.
inline void check(const GaussianCloud& cloud) {
  const auto count = static_cast<size_t>(cloud.count());
  require(cloud.positions.size() == 3 * count && cloud.sh_dc.size() == 3 * count &&
          cloud.sh_rest.size() == 45 * count && cloud.log_scales.size() == 3 * count &&
          cloud.quaternions.size() == 4 * count);
  for (const auto* values : {&cloud.positions, &cloud.sh_dc, &cloud.sh_rest, &cloud.opacity_logits,
                             &cloud.log_scales, &cloud.quaternions})
    for (const float value : *values) require(std::isfinite(value));
}

}  // namespace eg4d::fuzz
