#include <algorithm>
#include <cmath>

#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

float sum(const float* canonical, const float* delta, int64_t i) {
  return delta ? canonical[i] + delta[i] : canonical[i];
}

void activate(const GaussianActivation& a, int64_t i) {
  for (int64_t k = i * 3; k < i * 3 + 3; ++k) {
    if (a.means) a.means[k] = sum(a.positions, a.delta_positions, k);
    if (a.scales) a.scales[k] = std::exp(sum(a.log_scales, a.delta_log_scales, k));
  }
  if (a.scales && a.flat) a.scales[i * 3 + 2] = 0;
  if (a.rotations) {
    float q[4];
    for (int k = 0; k < 4; ++k) q[k] = sum(a.quaternions, a.delta_quaternions, i * 4 + k);
    const float norm = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
    for (int k = 0; k < 4; ++k) a.rotations[i * 4 + k] = q[k] / std::max(norm, 1e-12f);
  }
  if (a.opacities) a.opacities[i] = 1 / (1 + std::exp(-sum(a.opacity_logits, a.delta_opacities, i)));
  if (a.gain_bias) {
    const float gain = a.raw_gain ? a.raw_gain[i] : 0;
    a.gain_bias[i * 4] = gain > 0 ? gain : std::expm1(gain);  // CELU, alpha 1
    for (int k = 0; k < 3; ++k) a.gain_bias[i * 4 + 1 + k] = a.raw_bias ? a.raw_bias[i * 3 + k] : 0;
  }
}

}  // namespace

void gaussian_activation_forward(const GaussianActivation& a) {
  parallel_for(a.count, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) activate(a, i);
  });
}

}  // namespace eg4d::cpu
