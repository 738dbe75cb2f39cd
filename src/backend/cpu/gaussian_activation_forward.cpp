#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/gaussian_activation_forward.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <cmath>

#include "backend/cpu/gaussian_activation-inl.h"
#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

void activate_rotation(const GaussianActivation& a, int64_t i) {
  float q[4];
  for (int k = 0; k < 4; ++k)
    q[k] = a.quaternions[i * 4 + k] + (a.delta_quaternions ? a.delta_quaternions[i * 4 + k] : 0);
  const float norm = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  for (int k = 0; k < 4; ++k) a.rotations[i * 4 + k] = q[k] / std::max(norm, 1e-12f);
}

void activate(const GaussianActivation& a, int64_t begin, int64_t end) {
  for_lanes((end - begin) * 3, [&](auto d, int64_t offset) HWY_ATTR {
    const int64_t i = begin * 3 + offset;
    if (a.means) hn::StoreU(sum_at(d, a.positions, a.delta_positions, i), d, a.means + i);
    if (a.scales) hn::StoreU(exponential(d, sum_at(d, a.log_scales, a.delta_log_scales, i)), d, a.scales + i);
  });
  if (a.opacities) {
    for_lanes(end - begin, [&](auto d, int64_t offset) HWY_ATTR {
      const int64_t i = begin + offset;
      hn::StoreU(sigmoid(d, sum_at(d, a.opacity_logits, a.delta_opacities, i)), d, a.opacities + i);
    });
  }
  for (int64_t i = begin; i < end; ++i) {
    if (a.scales && a.flat) a.scales[i * 3 + 2] = 0;
    if (a.rotations) activate_rotation(a, i);
    if (!a.gain_bias) continue;
    const float gain = a.raw_gain ? a.raw_gain[i] : 0;
    a.gain_bias[i * 4] = gain > 0 ? gain : std::expm1(gain);  // CELU, alpha 1
    for (int k = 0; k < 3; ++k) a.gain_bias[i * 4 + 1 + k] = a.raw_bias ? a.raw_bias[i * 3 + k] : 0;
  }
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(activate);

void gaussian_activation_forward(const GaussianActivation& a) {
  parallel_for(a.count, 256, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(activate)(a, begin, end);
  });
}

}  // namespace eg4d::cpu
#endif
