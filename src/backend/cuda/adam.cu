// Adam on many tensors in one launch: bound by memory, so each element is touched once, the gradient is
// zeroed on the way, and elements that nothing has touched yet are not written.

#include "backend/cuda/adam_step.cuh"
#include "backend/cuda/check.h"
#include "backend/cuda/gaussian_rows.cuh"
#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 4;  // of four floats, of a thread
constexpr int64_t kPerBlock = kThreads * kVectors * 4;

struct Tensors {
  Adam adam[kMostAdamTensors];
  uint32_t first_block[kMostAdamTensors + 1];
  bool aligned[kMostAdamTensors];  // to four floats, all four arrays
  int count;
};

__device__ bool is_zero(const float4& v) {
  return v.x == 0 && v.y == 0 && v.z == 0 && v.w == 0;
}

__device__ void update_four(const AdamStep& s, const Adam& a, int64_t i) {
  float4* gradients = reinterpret_cast<float4*>(a.gradient + i);
  float4* firsts = reinterpret_cast<float4*>(a.first_moment + i);
  float4* seconds = reinterpret_cast<float4*>(a.second_moment + i);
  const float4 g = *gradients;
  float4 m = *firsts, v = *seconds;
  const bool gradient_is_zero = is_zero(g);
  if (gradient_is_zero && is_zero(m) && is_zero(v)) return;
  float4* parameters = reinterpret_cast<float4*>(a.parameter + i);
  float4 p = *parameters;
  adam_update(s, g.x, p.x, m.x, v.x);
  adam_update(s, g.y, p.y, m.y, v.y);
  adam_update(s, g.z, p.z, m.z, v.z);
  adam_update(s, g.w, p.w, m.w, v.w);
  *parameters = p;
  *firsts = m;
  *seconds = v;
  if (!gradient_is_zero) *gradients = make_float4(0, 0, 0, 0);
}

// The last elements, and those of arrays that are not aligned: at most four.
__device__ void update_one_by_one(const AdamStep& s, const Adam& a, int64_t begin) {
  for (int64_t i = begin; i < min(begin + 4, a.count); ++i) {
    const float gradient = a.gradient[i];
    if (gradient == 0 && a.first_moment[i] == 0 && a.second_moment[i] == 0) continue;
    adam_update(s, gradient, a.parameter[i], a.first_moment[i], a.second_moment[i]);
    a.gradient[i] = 0;
  }
}

__global__ void __launch_bounds__(kThreads) adam_kernel(const __grid_constant__ Tensors t) {
  __shared__ AdamStep step;
  int tensor = 0;
  while (blockIdx.x >= t.first_block[tensor + 1]) ++tensor;
  const Adam& a = t.adam[tensor];
  if (threadIdx.x == 0) step = adam_step_of(a, *a.rate);
  __syncthreads();
  const AdamStep s = step;
  const int64_t first = (blockIdx.x - t.first_block[tensor]) * kPerBlock + threadIdx.x * 4;
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const int64_t i = first + k * kThreads * 4;
    if (t.aligned[tensor] && i + 4 <= a.count)
      update_four(s, a, i);
    else
      update_one_by_one(s, a, i);
  }
}

}  // namespace

void adam(std::span<const Adam> tensors, cudaStream_t stream) {
  if (tensors.size() > kMostAdamTensors) fail("too many tensors for one launch of Adam");
  Tensors t{};
  for (const Adam& tensor : tensors) {
    t.adam[t.count] = tensor;
    t.aligned[t.count] = true;
    for (const float* array : {tensor.parameter, tensor.gradient, tensor.first_moment, tensor.second_moment})
      t.aligned[t.count] &= reinterpret_cast<uintptr_t>(array) % sizeof(float4) == 0;
    t.first_block[t.count + 1] = t.first_block[t.count] + blocks_for(tensor.count, kPerBlock);
    ++t.count;
  }
  const uint32_t blocks = t.first_block[t.count];
  if (blocks == 0) return;
  adam_kernel<<<blocks, kThreads, 0, stream>>>(t);
  check_launch("updating parameters");
}

}  // namespace eg4d::cuda
