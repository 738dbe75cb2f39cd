#pragma once

// Tiles of 16 queries on tensor cores, heads of 64: what the kernels for few and for many tokens share.
// Tokens lie in shared memory as rows of eight units (tensor_core.cuh).

#include "backend/cuda/networks/network_kernels.h"
#include "backend/cuda/networks/typed_arrays.cuh"
#include "backend/cuda/tensor_core.cuh"

namespace eg4d::cuda {

constexpr int kHead = 64;          // elements of a head
constexpr int kUnits = kHead / 8;  // of a token

// c[16,8] += a[16,16]·b[16,8] of f16, or of bf16.
template <DType kType>
__device__ inline void multiply_add_of(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (kType == DType::bf16)
    multiply_add(c, a, b0, b1);
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Where a sequence's head begins, and from token to token.
struct Tokens {
  const uint16_t* first;
  int64_t stride;
  int64_t count;
};
__device__ inline Tokens tokens_of(const Attention& a, const Attention::Operand& x, int64_t count,
                                   int64_t sequence, int64_t head) {
  const int64_t begin =
      sequence / a.inner * x.outer_stride + sequence % a.inner * x.inner_stride + head * kHead;
  return {static_cast<const uint16_t*>(x.data.data) + begin, x.token_stride, count};
}

// Tokens [begin, begin + kRows) to shared memory, by kAll threads; zeros behind the last.
template <int kRows, int kAll>
__device__ inline void fetch(uint4* to, const Tokens& from, int64_t begin, int thread) {
#pragma unroll
  for (int i = thread; i < kRows * kUnits; i += kAll) {
    const int row = i / kUnits, unit = i % kUnits;
    const bool there = begin + row < from.count;
    copy_unit_async(to + swizzled(row, unit, kUnits),
                    from.first + (there ? begin + row : 0) * from.stride + unit * 8, there);
  }
}

// What a warp knows of its 16 queries: lane 4g + t has the rows g and g + 8.
template <DType kType>
struct QueryTile {
  uint32_t q[kHead / 16][4];
  float output[kUnits][4];
  float largest[2], sum[2];  // of a lane's own scores; of all four lanes at the end

  __device__ void begin(const uint4* queries, int lane) {
    const int row = lane / 8 % 2 * 8 + lane % 8;
#pragma unroll
    for (int k = 0; k < kHead / 16; ++k)
      load_matrices(q[k], queries + swizzled(row, 2 * k + lane / 16, kUnits));
#pragma unroll
    for (int n = 0; n < kUnits; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) output[n][i] = 0;
    largest[0] = largest[1] = -INFINITY;
    sum[0] = sum[1] = 0;
  }

  // Goes over kKeys tokens, of which `count` are there. `scale` is that of the scores, times log2(e).
  template <int kKeys>
  __device__ void attend(const uint4* keys, const uint4* values, int64_t count, float scale, int lane) {
    float scores[kKeys / 8][4] = {};
    const int quarter = lane / 8, row = lane % 8;
#pragma unroll
    for (int k = 0; k < kHead / 16; ++k)
#pragma unroll
      for (int n = 0; n < kKeys / 16; ++n) {
        uint32_t b[4];
        load_matrices(b, keys + swizzled(16 * n + quarter / 2 * 8 + row, 2 * k + quarter % 2, kUnits));
        multiply_add_of<kType>(scores[2 * n], q[k], b[0], b[1]);
        multiply_add_of<kType>(scores[2 * n + 1], q[k], b[2], b[3]);
      }
    if (count < kKeys) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (8 * n + 2 * (lane % 4) + i % 2 >= count) scores[n][i] = -INFINITY;
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = largest[half];
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
        most = fmaxf(most, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
      const float correction = fast_exp2((largest[half] - most) * scale), shift = most * scale;
      largest[half] = most;
      sum[half] *= correction;
#pragma unroll
      for (int n = 0; n < kUnits; ++n) {
        output[n][2 * half] *= correction;
        output[n][2 * half + 1] *= correction;
      }
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          scores[n][i] = fast_exp2(fmaf(scores[n][i], scale, -shift));
          sum[half] += scores[n][i];
        }
    }
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      uint32_t p[4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        p[i] = narrow_pair(scores[2 * k + i / 2][i % 2 * 2], scores[2 * k + i / 2][i % 2 * 2 + 1], kType);
#pragma unroll
      for (int n = 0; n < kUnits / 2; ++n) {
        uint32_t b[4];
        load_matrices_transposed(
            b, values + swizzled(16 * k + quarter % 2 * 8 + row, 2 * n + quarter / 2, kUnits));
        multiply_add_of<kType>(output[2 * n], p, b[0], b[1]);
        multiply_add_of<kType>(output[2 * n + 1], p, b[2], b[3]);
      }
    }
  }

  // To the first `count` rows of 16, by way of shared memory that the warp alone uses.
  __device__ void finish(uint4* room, uint16_t* to, int64_t stride, int64_t count, int lane) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float all = sum[half];
      all += __shfl_xor_sync(~0u, all, 1);
      all += __shfl_xor_sync(~0u, all, 2);
      const float gain = 1 / all;
      const int row = lane / 4 + 8 * half;
#pragma unroll
      for (int n = 0; n < kUnits; ++n)
        reinterpret_cast<uint32_t*>(room + swizzled(row, n, kUnits))[lane % 4] =
            narrow_pair(output[n][2 * half] * gain, output[n][2 * half + 1] * gain, kType);
    }
    __syncwarp();
#pragma unroll
    for (int i = lane; i < 16 * kUnits; i += 32) {
      const int row = i / kUnits, unit = i % kUnits;
      if (row < count)
        *reinterpret_cast<uint4*>(to + row * stride + unit * 8) = room[swizzled(row, unit, kUnits)];
    }
  }
};

// Score scale, times log2(e).
constexpr float kScoreScale = 0.125f * 1.4426950408889634f;

void attention_of_few(const Attention& a, cudaStream_t stream);
void attention_of_many(const Attention& a, cudaStream_t stream);
constexpr int64_t kFewTokens = 32;

}  // namespace eg4d::cuda
