#pragma once

#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {

// The scalars of one step as PyTorch forms them: in double, then rounded once (AdamRate is so already).
//   m += (g-m)·first_decay;  v = v·second_keep + g²·second_decay;  p -= step_size · m / (√v·root_scale + ε)
struct AdamStep {
  float first_decay, second_keep, second_decay, step_size, root_scale, epsilon;
};
__device__ inline AdamStep adam_step_of(const Adam& a, const AdamRate& rate) {
  AdamStep s;
  s.first_decay = static_cast<float>(1 - a.beta1);
  s.second_keep = static_cast<float>(a.beta2);
  s.second_decay = static_cast<float>(1 - a.beta2);
  s.step_size = rate.step_size;
  s.root_scale = rate.root_scale;
  s.epsilon = static_cast<float>(a.epsilon);
  return s;
}

// To 1 unit in the last place, of subnormal numbers too.
__device__ inline float root_fast(float x) {
  float y;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// A first moment under 2⁻⁹⁰ moves nothing and is dropped, as on the CPU. Root and quotient are approximate (2
// units in the last place of a step): exact ones are most of the arithmetic, and take longer than memory
// does.
__device__ inline void adam_update(const AdamStep& s, float gradient, float& parameter, float& first,
                                   float& second) {
  const float moved = fmaf(gradient - first, s.first_decay, first);
  first = fabsf(moved) < 0x1p-90f ? 0 : moved;
  second = fmaf(gradient * gradient, s.second_decay, second * s.second_keep);
  parameter -= __fdividef(first * s.step_size, fmaf(root_fast(second), s.root_scale, s.epsilon));
}

}  // namespace eg4d::cuda
