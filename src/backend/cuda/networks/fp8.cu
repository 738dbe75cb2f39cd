// A row is in the registers of a warp or, where it is longer, of a block: its largest number is known before
// any is rounded, and it is read once.

#include "backend/cuda/networks/fp8.h"

#include <cuda_fp8.h>

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/networks/typed_arrays.cuh"

namespace eg4d::cuda {
namespace {

constexpr float kLargest = 448;     // of e4m3
constexpr float kMostHalf = 65504;  // of f16
constexpr int kVectors = 4;         // of eight, that a thread holds at most
constexpr int kWarp = 32, kMostThreads = 512;

struct Rows {
  ConstArray x;
  int64_t width;
  __device__ Values<8> eight(int64_t row, int column) const {
    return load_values<8>(x, row * width + column);
  }
};

// bias + row scale·weight scale·number
__device__ Values<8> scaled(const NumberProduct& a, float row_scale, int64_t at, int64_t column) {
  Values<8> x = load_values<8>({a.sums, DType::f16}, at);
  const Values<8> scales = load_values<8>({a.weight_scales, DType::f32}, column);
#pragma unroll
  for (int i = 0; i < 8; ++i) x.v[i] *= row_scale * scales.v[i];
  if (!a.bias) return x;
  const Values<8> bias = load_values<8>({a.bias, DType::f32}, column);
#pragma unroll
  for (int i = 0; i < 8; ++i) x.v[i] += bias.v[i];
  return x;
}

struct Gates {
  NumberProduct x;
  int64_t width;
  float factor;  // what undoes product_factor
  __device__ Values<8> eight(int64_t row, int column) const {
    const float scale = x.row_scales[row] * factor;
    Values<8> value = scaled(x, scale, row * 2 * width + column, column);
    const Values<8> gate = scaled(x, scale, row * 2 * width + width + column, width + column);
#pragma unroll
    for (int i = 0; i < 8; ++i) value.v[i] *= gelu_of_half(gate.v[i]);
    return value;
  }
};

__device__ uint32_t four_numbers(const float* v, float inverse) {
  const uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(v[0] * inverse, v[1] * inverse), __NV_SATFINITE,
                                                __NV_E4M3),
                 high = __nv_cvt_float2_to_fp8x2(make_float2(v[2] * inverse, v[3] * inverse), __NV_SATFINITE,
                                                 __NV_E4M3);
  return low | high << 16;
}

// The largest of a row's threads.
__device__ float largest_of_row(float value) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, step));
  if (blockDim.x == kWarp) return value;
  __shared__ float largest[kMostThreads / kWarp];
  if (threadIdx.x % kWarp == 0) largest[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = 0;
  for (unsigned warp = 0; warp < blockDim.x / kWarp; ++warp) value = fmaxf(value, largest[warp]);
  return value;
}

template <class Source>
__global__ void __launch_bounds__(kMostThreads)
    quantize_kernel(Source source, int64_t rows, int width, QuantizedRows y) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= rows) return;  // a whole warp, or the whole block
  Values<8> values[kVectors];
  float largest = 0;
#pragma unroll
  for (int vector = 0; vector < kVectors; ++vector) {
    const int column = static_cast<int>(vector * blockDim.x + threadIdx.x) * 8;
    if (column >= width) continue;
    values[vector] = source.eight(row, column);
#pragma unroll
    for (int i = 0; i < 8; ++i) largest = fmaxf(largest, fabsf(values[vector].v[i]));
  }
  largest = fmaxf(largest_of_row(largest), 1e-30f);
  const float inverse = kLargest / largest;
#pragma unroll
  for (int vector = 0; vector < kVectors; ++vector) {
    const int column = static_cast<int>(vector * blockDim.x + threadIdx.x) * 8;
    if (column >= width) continue;
    *reinterpret_cast<uint2*>(y.numbers + row * width + column) =
        make_uint2(four_numbers(values[vector].v, inverse), four_numbers(values[vector].v + 4, inverse));
  }
  if (threadIdx.x == 0) y.scales[row] = largest / kLargest;
}

__global__ void finish_product_kernel(FinishProduct a, float factor) {
  const int64_t at = thread_number() * 8;
  if (at >= a.rows * a.width) return;
  const int64_t row = at / a.width;
  Values<8> x = scaled(a.x, a.x.row_scales[row] * factor, at, at - row * a.width);
  if (a.residual.data) {
    const Values<8> residual = load_values<8>(a.residual, at);
#pragma unroll
    for (int i = 0; i < 8; ++i) x.v[i] += residual.v[i];
  }
  store_values(a.y, at, x);
}

template <class Source>
void quantize(const Source& source, int64_t rows, int64_t width, const QuantizedRows& y,
              cudaStream_t stream) {
  if (rows == 0) return;
  const int64_t vectors = width / 8;
  dim3 threads(kWarp, 8);
  if (vectors > kVectors * kWarp)  // two vectors each where there are threads enough
    threads = dim3(
        static_cast<unsigned>(std::min<int64_t>((vectors / 2 + kWarp - 1) / kWarp * kWarp, kMostThreads)));
  quantize_kernel<<<static_cast<unsigned>((rows + threads.y - 1) / threads.y), threads, 0, stream>>>(
      source, rows, static_cast<int>(width), y);
  check_launch("rounding to 8 bits");
}

}  // namespace

bool quantized_rows_take(int64_t width) {
  return width > 0 && width % kQuantizedMultiple == 0 && width <= int64_t{kMostThreads} * kVectors * 8;
}

float product_factor(int64_t in) {
  float factor = 1;
  while (kLargest * kLargest * static_cast<float>(in) * factor > kMostHalf) factor /= 2;
  return factor;
}

void quantize_rows(const QuantizeRows& a, cudaStream_t stream) {
  quantize(Rows{a.x, a.width}, a.rows, a.width, a.y, stream);
}

void gate_product(const GateProduct& a, cudaStream_t stream) {
  quantize(Gates{a.x, a.width, 1 / product_factor(a.x.in)}, a.rows, a.width, a.y, stream);
}

void finish_product(const FinishProduct& a, cudaStream_t stream) {
  const int64_t count = a.rows * a.width;
  if (count == 0) return;
  finish_product_kernel<<<blocks_for(count / 8), kThreads, 0, stream>>>(a, 1 / product_factor(a.x.in));
  check_launch("finishing a product");
}

}  // namespace eg4d::cuda
