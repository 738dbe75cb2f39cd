#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/gaussian_activation_backward.cpp"
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

// The derivative with respect to a sum goes to both summands.
template <class D>
HWY_INLINE void add_at(D d, float* canonical, float* delta, int64_t i, hn::Vec<D> gradient) {
  if (canonical) hn::StoreU(hn::Add(hn::LoadU(d, canonical + i), gradient), d, canonical + i);
  if (delta) hn::StoreU(hn::Add(hn::LoadU(d, delta + i), gradient), d, delta + i);
}

// r = q/|q|: d_q = (d_r - r·(r·d_r))/|q|.
void rotation_gradient(const GaussianActivationBackward& b, int64_t i) {
  const hn::CappedTag<float, 1> one;
  const GaussianActivation& a = b.forward;
  float q[4], square = 0, dot = 0;
  for (int k = 0; k < 4; ++k) {
    q[k] = a.quaternions[i * 4 + k] + (a.delta_quaternions ? a.delta_quaternions[i * 4 + k] : 0);
    square += q[k] * q[k];
  }
  const float norm = std::max(std::sqrt(square), 1e-12f);
  for (int k = 0; k < 4; ++k) dot += q[k] / norm * b.d_rotations[i * 4 + k];
  for (int k = 0; k < 4; ++k) {
    const float gradient = (b.d_rotations[i * 4 + k] - q[k] / norm * dot) / norm;
    add_at(one, b.d_quaternions, b.d_delta_quaternions, i * 4 + k, hn::Set(one, gradient));
  }
}

void activate_backward(const GaussianActivationBackward& b, int64_t begin, int64_t end) {
  const GaussianActivation& a = b.forward;
  for_lanes((end - begin) * 3, [&](auto d, int64_t offset) HWY_ATTR {
    const int64_t i = begin * 3 + offset;
    if (b.d_means) add_at(d, b.d_positions, b.d_delta_positions, i, hn::LoadU(d, b.d_means + i));
    if (b.d_scales && !a.flat) {
      const auto scale = exponential(d, sum_at(d, a.log_scales, a.delta_log_scales, i));
      add_at(d, b.d_log_scales, b.d_delta_log_scales, i, hn::Mul(hn::LoadU(d, b.d_scales + i), scale));
    }
  });
  if (b.d_opacities) {
    for_lanes(end - begin, [&](auto d, int64_t offset) HWY_ATTR {
      const int64_t i = begin + offset;
      const auto opacity = sigmoid(d, sum_at(d, a.opacity_logits, a.delta_opacities, i));
      const auto slope = hn::NegMulAdd(opacity, opacity, opacity);
      add_at(d, b.d_opacity_logits, b.d_delta_opacities, i, hn::Mul(hn::LoadU(d, b.d_opacities + i), slope));
    });
  }
  const hn::CappedTag<float, 1> one;
  for (int64_t i = begin; i < end; ++i) {
    if (b.d_rotations) rotation_gradient(b, i);
    for (int64_t k = i * 3; k < i * 3 + 2 && b.d_scales && a.flat; ++k) {
      const auto scale = exponential(one, sum_at(one, a.log_scales, a.delta_log_scales, k));
      add_at(one, b.d_log_scales, b.d_delta_log_scales, k, hn::Mul(hn::Set(one, b.d_scales[k]), scale));
    }
    if (!b.d_gain_bias) continue;
    if (b.d_raw_gain) b.d_raw_gain[i] += b.d_gain_bias[i * 4] * std::exp(std::min(a.raw_gain[i], 0.0f));
    for (int k = 0; k < 3 && b.d_raw_bias; ++k) b.d_raw_bias[i * 3 + k] += b.d_gain_bias[i * 4 + 1 + k];
  }
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(activate_backward);

void gaussian_activation_backward(const GaussianActivationBackward& b) {
  parallel_for(b.forward.count, 256, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(activate_backward)(b, begin, end);
  });
}

}  // namespace eg4d::cpu
#endif
