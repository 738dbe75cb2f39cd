#pragma once

// Loads and stores of activations of any type. The type is a number that the kernel is given: a branch that
// all threads take alike costs nothing beside the memory, and kernels are compiled once for all types.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <initializer_list>

#include "backend/array.h"
#include "backend/neural_ops.h"

namespace eg4d::cuda {

__device__ inline float2 widen_pair(uint32_t bits, DType type) {
  if (type == DType::f16) return __half22float2(*reinterpret_cast<const __half2*>(&bits));
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&bits));
}
__device__ inline uint32_t narrow_pair(float a, float b, DType type) {
  if (type == DType::f16) {
    const __half2 pair = __floats2half2_rn(a, b);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
  const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

__device__ inline float load(ConstArray array, int64_t at) {
  if (array.type == DType::f32) return static_cast<const float*>(array.data)[at];
  if (array.type == DType::f16) return __half2float(static_cast<const __half*>(array.data)[at]);
  return __bfloat162float(static_cast<const __nv_bfloat16*>(array.data)[at]);
}
__device__ inline void store(Array array, int64_t at, float value) {
  if (array.type == DType::f32)
    static_cast<float*>(array.data)[at] = value;
  else if (array.type == DType::f16)
    static_cast<__half*>(array.data)[at] = __float2half_rn(value);
  else
    static_cast<__nv_bfloat16*>(array.data)[at] = __float2bfloat16_rn(value);
}

// Eight at a time, from a multiple of 16 bytes on; or one.
template <int N>
struct Values {
  float v[N];
};

// 16 bytes of 16-bit numbers.
__device__ inline Values<8> widened(const uint4& bits, DType type) {
  const float2 a = widen_pair(bits.x, type), b = widen_pair(bits.y, type), c = widen_pair(bits.z, type),
               d = widen_pair(bits.w, type);
  return {{a.x, a.y, b.x, b.y, c.x, c.y, d.x, d.y}};
}
__device__ inline uint4 narrowed(const Values<8>& values, DType type) {
  const float(&v)[8] = values.v;
  return make_uint4(narrow_pair(v[0], v[1], type), narrow_pair(v[2], v[3], type),
                    narrow_pair(v[4], v[5], type), narrow_pair(v[6], v[7], type));
}

template <int N>
__device__ inline Values<N> load_values(ConstArray array, int64_t at);
template <>
__device__ inline Values<1> load_values<1>(ConstArray array, int64_t at) {
  return {{load(array, at)}};
}
template <>
__device__ inline Values<8> load_values<8>(ConstArray array, int64_t at) {
  if (array.type == DType::f32) {
    const float4* const from = reinterpret_cast<const float4*>(static_cast<const float*>(array.data) + at);
    const float4 a = from[0], b = from[1];
    return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
  }
  return widened(*reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(array.data) + at), array.type);
}

__device__ inline void store_values(Array array, int64_t at, const Values<1>& values) {
  store(array, at, values.v[0]);
}
__device__ inline void store_values(Array array, int64_t at, const Values<8>& values) {
  if (array.type == DType::f32) {
    const float(&v)[8] = values.v;
    float4* const to = reinterpret_cast<float4*>(static_cast<float*>(array.data) + at);
    to[0] = make_float4(v[0], v[1], v[2], v[3]);
    to[1] = make_float4(v[4], v[5], v[6], v[7]);
  } else {
    *reinterpret_cast<uint4*>(static_cast<uint16_t*>(array.data) + at) = narrowed(values, array.type);
  }
}

__device__ inline float gelu(float x) {
  return 0.5f * x * (1 + erff(x * 0.70710678118654752f));
}
// To some 2e-7 of the larger of 1 and |x|, for results of 16 bits: by the error function's
// approximation 7.1.26 of Abramowitz & Stegun (1964), in half the instructions.
__device__ inline float gelu_of_half(float x) {
  const float size = fabsf(x) * 0.70710678118654752f;
  const float t = __fdividef(1.0f, fmaf(0.3275911f, size, 1.0f));
  float sum = fmaf(1.061405429f, t, -1.453152027f);
  sum = fmaf(sum, t, 1.421413741f);
  sum = fmaf(sum, t, -0.284496736f);
  sum = fmaf(sum, t, 0.254829592f);
  const float rest = 0.5f * sum * t * __expf(-size * size);  // half of 1 - erf(size)
  return fmaxf(x, 0.0f) - fabsf(x) * rest;
}
__device__ inline float silu_of_half(float x) {
  return __fdividef(x, 1.0f + __expf(-x));
}
// The same with one reciprocal for four values: exponentials and reciprocals come at an eighth of the rate of
// products, and bound what otherwise only moves memory. Below -20, where the value is nearer to 0 than f16
// can tell, it is 0, so that the product of four denominators is finite. NaN stays.
__device__ inline void silu_of_halves(Values<8>& x) {
#pragma unroll
  for (int i = 0; i < 8; i += 4) {
    float* const v = x.v + i;
    float below[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) below[k] = 1.0f + __expf(-fmaxf(v[k], -20.0f));
    const float first = below[0] * below[1], second = below[2] * below[3];
    const float both = __fdividef(1.0f, first * second);
    const float of_first = both * second, of_second = both * first;
    const float inverse[4] = {of_first * below[1], of_first * below[0], of_second * below[3],
                              of_second * below[2]};
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = (v[k] < -20.0f ? 0.0f : v[k]) * inverse[k];
  }
}
// For a result of the given type.
__device__ inline float activated(Activation activation, float x, DType to) {
  switch (activation) {
    case Activation::silu:
      return to == DType::f32 ? x / (1 + expf(-x)) : silu_of_half(x);
    case Activation::gelu:
      return to == DType::f32 ? gelu(x) : gelu_of_half(x);
    case Activation::quick_gelu:
      return x / (1 + expf(-1.702f * x));
    case Activation::relu:
      return x < 0 ? 0.0f : x;  // NaN stays
    default:
      return x;
  }
}

// May rows of such a width, at such distances, be read and written eight elements at a time?
inline bool in_eights(int64_t width, std::initializer_list<ConstArray> arrays) {
  if (width % 8 != 0) return false;
  for (const ConstArray& array : arrays)
    if (reinterpret_cast<uintptr_t>(array.data) % 16 != 0) return false;
  return true;
}

constexpr int kThreads = 256;
inline unsigned blocks_for(int64_t threads) {
  return static_cast<unsigned>((threads + kThreads - 1) / kThreads);
}
// Of this thread, in a launch of blocks_for().
__device__ inline int64_t thread_number() {
  return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
}

}  // namespace eg4d::cuda
