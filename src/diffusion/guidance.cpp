#include "diffusion/guidance.h"

#include <algorithm>
#include <cmath>

#include "core/ramp.h"

namespace eg4d {

std::vector<float> guidance_scales(const Guidance& guidance, int frames) {
  if (guidance.shape == GuidanceShape::linear) return linear_ramp(guidance.min, guidance.max, frames);
  std::vector<float> scales = linear_ramp(0, 1, frames);
  for (float& v : scales) {
    const float wave = 2 * std::abs(v - std::floor(v + 0.5f));
    v = wave * (guidance.max - guidance.min) + guidance.min;
  }
  return scales;
}

bool needs_unconditional(std::span<const float> scales) {
  return std::any_of(scales.begin(), scales.end(), [](float scale) { return scale != 1; });
}

}  // namespace eg4d
