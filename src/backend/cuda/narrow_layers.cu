// Layers of a few outputs: bound by reading their input.

#include "backend/cuda/narrow_layers.h"

#include "backend/cuda/check.h"
#include "backend/cuda/gaussian_rows.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRowsOfBlock = 256;  // that a block goes back through

// One row of one head a warp.
__global__ void __launch_bounds__(kThreads) narrow_forward_kernel(const __grid_constant__ NarrowHeads h) {
  const NarrowHead& head = h.head[blockIdx.y];
  const int64_t row = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (row >= h.rows) return;
  float sums[kMostNarrowOutputs] = {};
  for (int i = lane; i < h.in; i += 32) {
    const float x = head.hidden[row * h.in + i];
#pragma unroll
    for (int o = 0; o < kMostNarrowOutputs; ++o)
      if (o < head.out) sums[o] = fmaf(x, head.weight[int64_t{o} * h.in + i], sums[o]);
  }
#pragma unroll
  for (int o = 0; o < kMostNarrowOutputs; ++o) {
    if (o >= head.out) break;
    for (int step = 16; step > 0; step /= 2) sums[o] += __shfl_xor_sync(0xffffffffu, sums[o], step);
    if (lane == 0) head.output[row * head.out + o] = sums[o] + head.bias[o];
  }
}

// One column of the hidden layer a thread, through the block's rows.
__global__ void __launch_bounds__(kThreads) narrow_backward_kernel(const __grid_constant__ NarrowHeads h) {
  const NarrowHead& head = h.head[blockIdx.y];
  __shared__ float d_output[kRowsOfBlock][kMostNarrowOutputs];
  const int64_t first = int64_t{blockIdx.x} * kRowsOfBlock;
  const int rows = static_cast<int>(min(int64_t{kRowsOfBlock}, h.rows - first));
  for (int i = static_cast<int>(threadIdx.x); i < rows * head.out; i += kThreads)
    d_output[i / head.out][i % head.out] = head.d_output[first * head.out + i];
  __syncthreads();
  float* const parts = head.parts + int64_t{blockIdx.x} * head.out * (h.in + 1);
  for (int column = static_cast<int>(threadIdx.x); column < h.in; column += kThreads) {
    float weight[kMostNarrowOutputs], sums[kMostNarrowOutputs] = {};
#pragma unroll
    for (int o = 0; o < kMostNarrowOutputs; ++o)
      weight[o] = o < head.out ? head.weight[int64_t{o} * h.in + column] : 0;
    for (int row = 0; row < rows; ++row) {
      const int64_t at = (first + row) * h.in + column;
      const float x = head.hidden[at];
      float d = 0;
#pragma unroll
      for (int o = 0; o < kMostNarrowOutputs; ++o) {
        if (o >= head.out) break;
        d = fmaf(d_output[row][o], weight[o], d);
        sums[o] = fmaf(d_output[row][o], x, sums[o]);
      }
      head.d_hidden[at] = x > 0 ? d : 0;
    }
#pragma unroll
    for (int o = 0; o < kMostNarrowOutputs; ++o)
      if (o < head.out) parts[o * (h.in + 1) + column] = sums[o];
  }
  if (threadIdx.x >= head.out) return;
  float sum = 0;
  for (int row = 0; row < rows; ++row) sum += d_output[row][threadIdx.x];
  parts[threadIdx.x * (h.in + 1) + h.in] = sum;
}

}  // namespace

int64_t narrow_blocks(int64_t rows) {
  return (rows + kRowsOfBlock - 1) / kRowsOfBlock;
}

void narrow_forward(const NarrowHeads& h, cudaStream_t stream) {
  const dim3 grid{blocks_for(h.rows * 32, kThreads), static_cast<unsigned>(h.count)};
  narrow_forward_kernel<<<grid, kThreads, 0, stream>>>(h);
  check_launch("computing the last layers");
}

void narrow_backward(const NarrowHeads& h, cudaStream_t stream) {
  const dim3 grid{static_cast<unsigned>(narrow_blocks(h.rows)), static_cast<unsigned>(h.count)};
  narrow_backward_kernel<<<grid, kThreads, 0, stream>>>(h);
  check_launch("going back through the last layers");
}

}  // namespace eg4d::cuda
