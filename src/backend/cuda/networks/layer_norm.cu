// A row stays in the registers of 8, 16 or 32 lanes, five vectors of 8 each at most, and is read and written
// once.

#include "backend/cuda/check.h"
#include "backend/cuda/networks/network_kernels.h"
#include "backend/cuda/networks/typed_arrays.cuh"

namespace eg4d::cuda {
namespace {

template <int kLanes>
__device__ float sum_of(float value) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}

// What is normed: x + add, or x mixed with the reference.
template <int N>
__device__ Values<N> input(const MixedNorm& m, int64_t row, int64_t column) {
  const LayerNorm& a = m.norm;
  Values<N> x = load_values<N>(a.x, row * a.width + column);
  if (m.reference.data) {
    const Values<N> reference = load_values<N>(m.reference, row * a.width + column);
#pragma unroll
    for (int i = 0; i < N; ++i) x.v[i] = m.strength * reference.v[i] + (1 - m.strength) * x.v[i];
    if (m.keep) store_values(m.reference, row * a.width + column, x);
  } else if (a.add.data) {
    const Values<N> add = load_values<N>(a.add, row / a.rows_per_add % a.add_rows * a.width + column);
#pragma unroll
    for (int i = 0; i < N; ++i) x.v[i] += add.v[i];
    if (a.sum.data) store_values(a.sum, row * a.width + column, x);
  } else if (a.sum.data) {
    store_values(a.sum, row * a.width + column, x);
  }
  return x;
}

template <int N>
__device__ void finish(const LayerNorm& a, int64_t row, int64_t column, float mean, float gain, Values<N> x) {
  const Values<N> scale = load_values<N>({a.scale, DType::f32}, column),
                  shift = load_values<N>({a.shift, DType::f32}, column);
#pragma unroll
  for (int i = 0; i < N; ++i) x.v[i] = fmaf((x.v[i] - mean) * gain, scale.v[i], shift.v[i]);
  store_values(a.y, row * a.width + column, x);
}

constexpr int kVectors = 5;

// Widths that are multiples of 8, of at most kLanes·40.
template <int kLanes>
__global__ void __launch_bounds__(kThreads) layer_norm_kernel(MixedNorm m) {
  const LayerNorm& a = m.norm;
  // Lanes behind the last row help to add.
  const int64_t number = thread_number() / kLanes, row = min(number, a.rows - 1);
  const int lane = threadIdx.x % kLanes;
  Values<8> x[kVectors];
  float sum = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int64_t column = (v * kLanes + lane) * 8;
    if (column < a.width && number < a.rows) x[v] = input<8>(m, row, column);
  }
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    if ((v * kLanes + lane) * 8 < a.width)
#pragma unroll
      for (int i = 0; i < 8; ++i) sum += x[v].v[i];
  const float mean = sum_of<kLanes>(sum) / static_cast<float>(a.width);
  float squares = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    if ((v * kLanes + lane) * 8 < a.width)
#pragma unroll
      for (int i = 0; i < 8; ++i) squares = fmaf(x[v].v[i] - mean, x[v].v[i] - mean, squares);
  const float gain = 1 / sqrtf(sum_of<kLanes>(squares) / static_cast<float>(a.width) + a.epsilon);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int64_t column = (v * kLanes + lane) * 8;
    if (column < a.width && number < a.rows) finish<8>(a, row, column, mean, gain, x[v]);
  }
}

// Any width; rows lie in shared memory, where a lane reads what it has written itself.
__global__ void any_layer_norm_kernel(MixedNorm m) {
  const LayerNorm& a = m.norm;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= a.rows) return;
  extern __shared__ float rows[];
  float* const x = rows + threadIdx.x / 32 * a.width;
  const int lane = threadIdx.x % 32;
  float sum = 0;
  for (int64_t c = lane; c < a.width; c += 32) sum += x[c] = input<1>(m, row, c).v[0];
  const float mean = sum_of<32>(sum) / static_cast<float>(a.width);
  float squares = 0;
  for (int64_t c = lane; c < a.width; c += 32) squares = fmaf(x[c] - mean, x[c] - mean, squares);
  const float gain = 1 / sqrtf(sum_of<32>(squares) / static_cast<float>(a.width) + a.epsilon);
  for (int64_t c = lane; c < a.width; c += 32) finish<1>(a, row, c, mean, gain, {{x[c]}});
}

}  // namespace

void mixed_norm(const MixedNorm& m, cudaStream_t stream) {
  const LayerNorm& a = m.norm;
  if (a.rows == 0 || a.width == 0) return;
  const bool eights = in_eights(a.width, {a.x, a.scale, a.shift, a.add, a.sum, a.y, m.reference});
  if (eights && a.width <= 8 * 8 * kVectors)
    layer_norm_kernel<8><<<blocks_for(8 * a.rows), kThreads, 0, stream>>>(m);
  else if (eights && a.width <= 16 * 8 * kVectors)
    layer_norm_kernel<16><<<blocks_for(16 * a.rows), kThreads, 0, stream>>>(m);
  else if (eights && a.width <= 32 * 8 * kVectors)
    layer_norm_kernel<32><<<blocks_for(32 * a.rows), kThreads, 0, stream>>>(m);
  else {
    const int64_t rows = a.width > 1024 ? 1 : kThreads / 32;  // of a block: 48 KiB hold any network's
    const auto shared = static_cast<size_t>(rows * a.width) * sizeof(float);
    any_layer_norm_kernel<<<static_cast<unsigned>((a.rows + rows - 1) / rows),
                            static_cast<unsigned>(32 * rows), shared, stream>>>(m);
  }
  check_launch("norming rows");
}

void layer_norm(const LayerNorm& a, cudaStream_t stream) {
  mixed_norm({.norm = a, .reference = {}, .strength = 0, .keep = false}, stream);
}

}  // namespace eg4d::cuda
