// Canonical parameters and the network's outputs become what the rasteriser takes; one Gaussian a thread.

#include "backend/cuda/check.h"
#include "backend/cuda/gaussian_rows.cuh"
#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 128;

// canonical + delta; a null delta is 0.
__device__ float sum_at(const float* canonical, const float* delta, int64_t i) {
  return canonical[i] + (delta ? delta[i] : 0);
}
// The derivative with respect to a sum goes to both summands.
__device__ void add_at(float* canonical, float* delta, int64_t i, float gradient) {
  if (canonical) canonical[i] += gradient;
  if (delta) delta[i] += gradient;
}

__device__ float sigmoid(float x) {
  return 1 / (1 + expf(-x));
}

struct Rotation {
  float q[4];  // not normalised
  float norm;
};
__device__ Rotation rotation_at(const GaussianActivation& a, int64_t i) {
  Rotation r;
  float square = 0;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    r.q[k] = sum_at(a.quaternions, a.delta_quaternions, 4 * i + k);
    square = fmaf(r.q[k], r.q[k], square);
  }
  r.norm = sqrtf(square);
  r.norm = r.norm < 1e-12f ? 1e-12f : r.norm;  // NaN stays
  return r;
}

__global__ void __launch_bounds__(kThreads) forward_kernel(GaussianActivation a) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= a.count) return;
  for (int64_t k = 3 * i; k < 3 * i + 3; ++k) {
    if (a.means) a.means[k] = sum_at(a.positions, a.delta_positions, k);
    if (a.scales)
      a.scales[k] = a.flat && k == 3 * i + 2 ? 0 : expf(sum_at(a.log_scales, a.delta_log_scales, k));
  }
  if (a.opacities) a.opacities[i] = sigmoid(sum_at(a.opacity_logits, a.delta_opacities, i));
  if (a.rotations) {
    const Rotation r = rotation_at(a, i);
    for (int k = 0; k < 4; ++k) a.rotations[4 * i + k] = r.q[k] / r.norm;
  }
  if (!a.gain_bias) return;
  const float gain = a.raw_gain ? a.raw_gain[i] : 0;
  a.gain_bias[4 * i] = gain > 0 ? gain : expm1f(gain);  // CELU, alpha 1
  for (int k = 0; k < 3; ++k) a.gain_bias[4 * i + 1 + k] = a.raw_bias ? a.raw_bias[3 * i + k] : 0;
}

// r = q/|q|: d_q = (d_r - r·(r·d_r))/|q|.
__device__ void rotation_backward(const GaussianActivationBackward& b, int64_t i) {
  const Rotation r = rotation_at(b.forward, i);
  float dot = 0;
  for (int k = 0; k < 4; ++k) dot = fmaf(r.q[k] / r.norm, b.d_rotations[4 * i + k], dot);
  for (int k = 0; k < 4; ++k) {
    const float gradient = (b.d_rotations[4 * i + k] - r.q[k] / r.norm * dot) / r.norm;
    add_at(b.d_quaternions, b.d_delta_quaternions, 4 * i + k, gradient);
  }
}

__global__ void __launch_bounds__(kThreads) backward_kernel(GaussianActivationBackward b) {
  const GaussianActivation& a = b.forward;
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= a.count) return;
  const int64_t scales_end = 3 * i + (a.flat ? 2 : 3);
  for (int64_t k = 3 * i; k < 3 * i + 3; ++k) {
    if (b.d_means) add_at(b.d_positions, b.d_delta_positions, k, b.d_means[k]);
    if (b.d_scales && k < scales_end)
      add_at(b.d_log_scales, b.d_delta_log_scales, k,
             b.d_scales[k] * expf(sum_at(a.log_scales, a.delta_log_scales, k)));
  }
  if (b.d_opacities) {
    const float opacity = sigmoid(sum_at(a.opacity_logits, a.delta_opacities, i));
    add_at(b.d_opacity_logits, b.d_delta_opacities, i, b.d_opacities[i] * fmaf(-opacity, opacity, opacity));
  }
  if (b.d_rotations) rotation_backward(b, i);
  if (!b.d_gain_bias) return;
  if (b.d_raw_gain) b.d_raw_gain[i] += b.d_gain_bias[4 * i] * expf(fminf(a.raw_gain[i], 0.0f));
  for (int k = 0; k < 3 && b.d_raw_bias; ++k) b.d_raw_bias[3 * i + k] += b.d_gain_bias[4 * i + 1 + k];
}

}  // namespace

void gaussian_activation_forward(const GaussianActivation& activation, cudaStream_t stream) {
  if (activation.count == 0) return;
  forward_kernel<<<blocks_for(activation.count, kThreads), kThreads, 0, stream>>>(activation);
  check_launch("activating Gaussians");
}

void gaussian_activation_backward(const GaussianActivationBackward& backward, cudaStream_t stream) {
  if (backward.forward.count == 0) return;
  backward_kernel<<<blocks_for(backward.forward.count, kThreads), kThreads, 0, stream>>>(backward);
  check_launch("computing the gradients of activations");
}

}  // namespace eg4d::cuda
