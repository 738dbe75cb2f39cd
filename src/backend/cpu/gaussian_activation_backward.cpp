#include <algorithm>
#include <cmath>

#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

// The derivative of a sum goes to both summands.
void add(float* canonical, float* delta, int64_t i, float gradient) {
  if (canonical) canonical[i] += gradient;
  if (delta) delta[i] += gradient;
}

// r = q/|q|: d_q = (d_r - r·(r·d_r))/|q|.
void rotation_gradient(const GaussianActivationBackward& b, int64_t i) {
  const GaussianActivation& a = b.forward;
  float q[4], norm = 0, dot = 0;
  for (int k = 0; k < 4; ++k) {
    q[k] = a.quaternions[i * 4 + k] + (a.delta_quaternions ? a.delta_quaternions[i * 4 + k] : 0);
    norm += q[k] * q[k];
  }
  norm = std::max(std::sqrt(norm), 1e-12f);
  for (int k = 0; k < 4; ++k) dot += q[k] / norm * b.d_rotations[i * 4 + k];
  for (int k = 0; k < 4; ++k) {
    const float d = (b.d_rotations[i * 4 + k] - q[k] / norm * dot) / norm;
    add(b.d_quaternions, b.d_delta_quaternions, i * 4 + k, d);
  }
}

void activate_backward(const GaussianActivationBackward& b, int64_t i) {
  const GaussianActivation& a = b.forward;
  for (int k = 0; k < 3; ++k) {
    const int64_t j = i * 3 + k;
    if (b.d_means) add(b.d_positions, b.d_delta_positions, j, b.d_means[j]);
    if (b.d_scales && !(a.flat && k == 2)) {
      const float scale = std::exp(a.log_scales[j] + (a.delta_log_scales ? a.delta_log_scales[j] : 0));
      add(b.d_log_scales, b.d_delta_log_scales, j, b.d_scales[j] * scale);
    }
  }
  if (b.d_rotations) rotation_gradient(b, i);
  if (b.d_opacities) {
    const float logit = a.opacity_logits[i] + (a.delta_opacities ? a.delta_opacities[i] : 0);
    const float opacity = 1 / (1 + std::exp(-logit));
    add(b.d_opacity_logits, b.d_delta_opacities, i, b.d_opacities[i] * opacity * (1 - opacity));
  }
  if (b.d_gain_bias) {
    if (b.d_raw_gain) {
      const float gain = a.raw_gain[i];
      b.d_raw_gain[i] += b.d_gain_bias[i * 4] * (gain > 0 ? 1 : std::exp(gain));
    }
    for (int k = 0; k < 3 && b.d_raw_bias; ++k) b.d_raw_bias[i * 3 + k] += b.d_gain_bias[i * 4 + 1 + k];
  }
}

}  // namespace

void gaussian_activation_backward(const GaussianActivationBackward& b) {
  parallel_for(b.forward.count, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) activate_backward(b, i);
  });
}

}  // namespace eg4d::cpu
