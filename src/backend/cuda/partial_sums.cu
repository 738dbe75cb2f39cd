// Partial sums added up, in an order that does not depend on the GPU.

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/deformation_network.cuh"
#include "backend/cuda/gaussian_rows.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 256;

// How many entries of a sum a block takes: one a thread where there are few parts; otherwise a warp's width,
// the parts divided among its warps. The same order whatever the GPU.
__host__ __device__ int entries_of_block(const Sum& sum) {
  return sum.parts <= 16 ? kThreads : 32;
}
// Of every kStep-th part from `first`; 16 are on their way at a time.
template <int kStep>
__device__ float sum_of_parts(const Sum& sum, const float* from, int first) {
  float total = 0;
  for (int part = first; part < sum.parts; part += 16 * kStep) {
    float values[16];
#pragma unroll
    for (int i = 0; i < 16; ++i)
      values[i] = part + i * kStep < sum.parts ? from[(part + i * kStep) * sum.stride] : 0.0f;
#pragma unroll
    for (const float value : values) total += value;
  }
  return total;
}
__global__ void __launch_bounds__(kThreads) add_parts_kernel(const __grid_constant__ Sums s) {
  constexpr int kWarps = kThreads / 32;
  __shared__ float totals[kWarps][32];
  const Sum& sum = s.sum[blockIdx.y];
  const bool few = entries_of_block(sum) == kThreads;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const unsigned first = blockIdx.x * static_cast<unsigned>(entries_of_block(sum));
  if (first >= sum.count) return;
  const unsigned i = first + (few ? threadIdx.x : static_cast<unsigned>(lane));
  const unsigned width = static_cast<unsigned>(sum.width);
  const float* const from = sum.from + i / width * sum.pitch + i % width;
  if (few) {
    if (i < sum.count) sum.to[i] += sum_of_parts<1>(sum, from, 0);
    return;
  }
  float total = i < sum.count ? sum_of_parts<kWarps>(sum, from, warp) : 0;
  totals[warp][lane] = total;
  __syncthreads();
  if (warp > 0 || i >= sum.count) return;
  for (int other = 1; other < kWarps; ++other) total += totals[other][lane];
  sum.to[i] += total;
}

}  // namespace

void add_parts(const Sums& s, cudaStream_t stream) {
  unsigned blocks = 0;
  for (int i = 0; i < s.count; ++i)
    blocks = std::max(blocks, blocks_for(s.sum[i].count, entries_of_block(s.sum[i])));
  if (blocks == 0) return;
  add_parts_kernel<<<dim3{blocks, static_cast<unsigned>(s.count)}, kThreads, 0, stream>>>(s);
  check_launch("adding up weight gradients");
}

}  // namespace eg4d::cuda
