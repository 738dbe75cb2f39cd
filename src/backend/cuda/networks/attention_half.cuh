#pragma once

// What the attention kernels for f16 and bf16 share.

#include <cuda_fp16.h>

#include <type_traits>

#include "backend/cuda/tensor_core.cuh"
#include "backend/neural_ops.h"

namespace eg4d::cuda {

// A running maximum starts here rather than at -∞, from which nothing can be subtracted.
inline constexpr float kLowest = -3.4e38f;

// One head of one sequence.
struct SequenceHead {
  int64_t outer, inner, head;
  __device__ SequenceHead(const Attention& a, unsigned index) {
    const unsigned heads = static_cast<unsigned>(a.heads), inners = static_cast<unsigned>(a.inner);
    const unsigned sequence = index / heads;
    head = index - sequence * heads;
    outer = sequence / inners;
    inner = sequence - static_cast<unsigned>(outer) * inners;
  }
  template <class T>
  __device__ const T* in(const Attention& a, const Attention::Operand& x) const {
    return static_cast<const T*>(x.data.data) + outer * x.outer_stride + inner * x.inner_stride +
           head * a.head_dim;
  }
  template <class T>
  __device__ T* out(const Attention& a) const {
    return static_cast<T*>(a.y.data) + outer * a.y_outer_stride + inner * a.y_inner_stride +
           head * a.head_dim;
  }
};

// c[16,8] += a[16,16]·b[16,8], fragments as multiply_add's.
template <class T>
__device__ void multiply_add_as(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    multiply_add(c, a, b0, b1);
  }
}

// Two numbers, the first in the lower half.
template <class T>
__device__ uint32_t packed_as(float first, float second) {
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 both = __floats2half2_rn(first, second);
    return *reinterpret_cast<const uint32_t*>(&both);
  } else {
    return packed(first, second);
  }
}

__device__ inline float exp2_approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// NaN wins.
__device__ inline float larger(float a, float b) {
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}

// Over the four lanes that share a row of a fragment.
__device__ inline float largest_of_row(float x) {
  x = larger(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return larger(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ inline float sum_of_row(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Lane t of four holds columns 2t and 2t+1 of four fragments' rows; then all eight of fragment t.
__device__ inline uint4 whole_unit(uint32_t r0, uint32_t r1, uint32_t r2, uint32_t r3) {
  const auto exchange = [](uint32_t& low, uint32_t& high, int distance) {
    const bool upper = threadIdx.x & distance;
    const uint32_t other = __shfl_xor_sync(0xffffffffu, upper ? low : high, distance);
    (upper ? low : high) = other;
  };
  exchange(r0, r1, 1);
  exchange(r2, r3, 1);
  exchange(r0, r2, 2);
  exchange(r1, r3, 2);
  return make_uint4(r0, r1, r2, r3);
}

// A row's running softmax. Weights are relative to `top`, which follows the largest score only when that is
// more than 2⁸ above: until then nothing need be scaled, and a weight still fits into f16.
struct RunningRow {
  float top = kLowest;  // of scores that are not scaled yet
  float sum = 0;        // of this lane's columns
  // Whether `largest` (top included) is too far above.
  __device__ bool outgrown(float largest, float scale) const { return !((largest - top) * scale <= 8); }
  // What has been summed so far must be multiplied by this.
  __device__ float follow(float largest, float scale) {
    const float factor = exp2_approximate((top - largest) * scale);
    top = largest;
    sum *= factor;
    return factor;
  }
};

}  // namespace eg4d::cuda
