// A row stays in the registers of 8, 16 or 32 lanes, five vectors of 8 each at most, and is read and written
// once. Where all is of one type of 16 bits and every lane has five vectors (the widths of the large
// networks), all that a lane needs of a row is on its way before any of it is looked at.

#include "backend/cuda/check.h"
#include "backend/cuda/networks/network_kernels.h"
#include "backend/cuda/networks/typed_arrays.cuh"

namespace eg4d::cuda {
namespace {

// Over so many lanes side by side.
__device__ float sum_of(float value, int lanes) {
  for (int step = lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
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

// Where a lane works: its row, or none, and the first column of its vector v.
struct Place {
  bool there;
  int64_t row;
  int lane, lanes;
  __device__ Place(const LayerNorm& a, int l)
      : row(thread_number() / l), lane(static_cast<int>(threadIdx.x) % l), lanes(l) {
    there = row < a.rows;
  }
  __device__ int column(int v) const { return (v * lanes + lane) * 8; }
};

// What is to be normed is get(v), of widths that are multiples of 8, of at most lanes·40, or (kWhole) of just
// that; put(v, normed).
template <bool kWhole, class Get, class Put>
__device__ void norm_row(const LayerNorm& a, const Place& place, const Get& get, const Put& put) {
  const auto width = static_cast<float>(a.width);
  float sum = 0, squares = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    if (kWhole || place.column(v) < a.width) {
      const Values<8> x = get(v);
#pragma unroll
      for (int i = 0; i < 8; ++i) sum += x.v[i];
    }
  const float mean = sum_of(sum, place.lanes) / width;
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    if (kWhole || place.column(v) < a.width) {
      const Values<8> x = get(v);
#pragma unroll
      for (int i = 0; i < 8; ++i) squares = fmaf(x.v[i] - mean, x.v[i] - mean, squares);
    }
  const float gain = 1 / sqrtf(sum_of(squares, place.lanes) / width + a.epsilon);
  if (!place.there) return;
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    if (kWhole || place.column(v) < a.width) {
      const Values<8> scale = load_values<8>({a.scale, DType::f32}, place.column(v)),
                      shift = load_values<8>({a.shift, DType::f32}, place.column(v));
      Values<8> x = get(v);
#pragma unroll
      for (int i = 0; i < 8; ++i) x.v[i] = fmaf((x.v[i] - mean) * gain, scale.v[i], shift.v[i]);
      put(v, x);
    }
}

// Any types.
__global__ void __launch_bounds__(kThreads) layer_norm_kernel(MixedNorm m, int lanes) {
  const LayerNorm& a = m.norm;
  const Place place(a, lanes);
  Values<8> x[kVectors] = {};
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    if (place.there && place.column(v) < a.width) x[v] = input<8>(m, place.row, place.column(v));
  norm_row<false>(
      a, place, [&](int v) { return x[v]; },
      [&](int v, const Values<8>& y) { store_values(a.y, place.row * a.width + place.column(v), y); });
}

// All of type kType, except scale and shift; widths of lanes·40.
enum class Extra : uint8_t { none, add, reference };
template <DType kType, Extra kExtra>
__global__ void __launch_bounds__(kThreads, kExtra == Extra::none ? 4 : 3)
    half_layer_norm_kernel(const __grid_constant__ MixedNorm m, int lanes) {
  const LayerNorm& a = m.norm;
  const Place place(a, lanes);
  const auto fetch = [&](uint4(&to)[kVectors], const void* from, int64_t row) {
    const auto* const at = static_cast<const uint16_t*>(from) + row * a.width;
#pragma unroll
    for (int v = 0; v < kVectors; ++v)
      if (place.there) to[v] = *reinterpret_cast<const uint4*>(at + place.column(v));
  };
  const auto keep = [&](void* to, int v, const Values<8>& values) {
    *reinterpret_cast<uint4*>(static_cast<uint16_t*>(to) + place.row * a.width + place.column(v)) =
        narrowed(values, kType);
  };
  const auto put = [&](int v, const Values<8>& y) { keep(a.y.data, v, y); };
  uint4 x[kVectors] = {};
  fetch(x, a.x.data, place.row);
  if constexpr (kExtra == Extra::none) {
    norm_row<true>(
        a, place, [&](int v) { return widened(x[v], kType); }, put);
  } else {
    uint4 other[kVectors] = {};
    if constexpr (kExtra == Extra::add)
      fetch(other, a.add.data,
            static_cast<unsigned>(place.row) / static_cast<unsigned>(a.rows_per_add) %
                static_cast<unsigned>(a.add_rows));
    else
      fetch(other, m.reference.data, place.row);
    void* const kept = kExtra == Extra::add ? a.sum.data : m.keep ? m.reference.data : nullptr;
    Values<8> sums[kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const Values<8> own = widened(x[v], kType), its = widened(other[v], kType);
#pragma unroll
      for (int i = 0; i < 8; ++i)
        sums[v].v[i] =
            kExtra == Extra::add ? own.v[i] + its.v[i] : m.strength * its.v[i] + (1 - m.strength) * own.v[i];
      if (kept && place.there) keep(kept, v, sums[v]);
    }
    norm_row<true>(
        a, place, [&](int v) { return sums[v]; }, put);
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
  const float mean = sum_of(sum, 32) / static_cast<float>(a.width);
  float squares = 0;
  for (int64_t c = lane; c < a.width; c += 32) squares = fmaf(x[c] - mean, x[c] - mean, squares);
  const float gain = 1 / sqrtf(sum_of(squares, 32) / static_cast<float>(a.width) + a.epsilon);
  for (int64_t c = lane; c < a.width; c += 32) finish<1>(a, row, c, mean, gain, {{x[c]}});
}

using Kernel = void (*)(MixedNorm, int);
template <DType kType>
Kernel half_kernel(const MixedNorm& m) {
  if (m.reference) return half_layer_norm_kernel<kType, Extra::reference>;
  return m.norm.add ? half_layer_norm_kernel<kType, Extra::add> : half_layer_norm_kernel<kType, Extra::none>;
}

Kernel kernel_for(const MixedNorm& m, int lanes) {
  const LayerNorm& a = m.norm;
  const DType type = a.x.type;
  const auto other = [type](const ConstArray& array) { return array && array.type != type; };
  const bool only_sum = a.sum && !a.add && !m.reference;
  if (type == DType::f32 || a.width != lanes * 8 * kVectors || other(a.y) || other(a.add) || other(a.sum) ||
      other(m.reference) || only_sum || a.rows >= int64_t{1} << 31 || a.rows_per_add >= int64_t{1} << 31)
    return layer_norm_kernel;
  return type == DType::f16 ? half_kernel<DType::f16>(m) : half_kernel<DType::bf16>(m);
}

}  // namespace

void mixed_norm(const MixedNorm& m, cudaStream_t stream) {
  const LayerNorm& a = m.norm;
  if (a.rows == 0 || a.width == 0) return;
  if (a.width <= 32 * 8 * kVectors &&
      in_eights(a.width, {a.x, a.scale, a.shift, a.add, a.sum, a.y, m.reference})) {
    const int lanes = a.width <= 8 * 8 * kVectors ? 8 : a.width <= 16 * 8 * kVectors ? 16 : 32;
    kernel_for(m, lanes)<<<blocks_for(lanes * a.rows), kThreads, 0, stream>>>(m, lanes);
  } else {
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
