// Attention on the tensor cores of every GPU since sm_80: a block of four warps computes 64 queries of one
// head, a warp 16 of them ("FlashAttention-2", Dao 2023).

#include "backend/cuda/check.h"
#include "backend/cuda/networks/attention_half.cuh"
#include "backend/cuda/networks/attention_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 128, kKeys = 64;

// Rows of a tile in shared memory are copied; zeros beyond the ends.
template <int kRows, int kUnits>
__device__ void copy_rows(uint4* to, const char* from, int64_t stride_bytes, int64_t rows, int units) {
  for (int i = threadIdx.x; i < kRows * kUnits; i += kThreads) {
    const int row = i / kUnits, unit = i % kUnits;
    const bool there = row < rows && unit < units;
    copy_unit_async(to + swizzled(row, unit, kUnits), there ? from + row * stride_bytes + 16 * unit : from,
                    there);
  }
}

// What a warp computes: kTiles times 16 queries, of which rows g and 8 + g are a lane's.
template <class T, int kWidth, int kTiles>
struct WarpQueries {
  static constexpr int kUnits = kWidth / 8;
  uint32_t queries[kTiles][kWidth / 16][4];
  float scores[kTiles][kKeys / 8][4];
  float sums[kTiles][kWidth / 8][4] = {};
  RunningRow rows[kTiles][2];

  __device__ void load_queries(const uint4* tile, int warp, int lane) {
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int d = 0; d < kWidth / 16; ++d)
        load_matrices(queries[m][d],
                      tile + swizzled(16 * (kTiles * warp + m) + lane % 16, 2 * d + lane / 16, kUnits));
  }
  __device__ void multiply_keys(const uint4* tile, int lane) {
#pragma unroll
    for (int n = 0; n < kKeys / 8; n += 2) {
#pragma unroll
      for (int m = 0; m < kTiles; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) scores[m][n][i] = scores[m][n + 1][i] = 0;
#pragma unroll
      for (int d = 0; d < kWidth / 16; ++d) {
        uint32_t keys[4];
        load_matrices(keys, tile + swizzled(8 * n + lane % 8 + lane / 16 * 8, 2 * d + lane / 8 % 2, kUnits));
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
          multiply_add_as<T>(scores[m][n], queries[m][d], keys[0], keys[1]);
          multiply_add_as<T>(scores[m][n + 1], queries[m][d], keys[2], keys[3]);
        }
      }
    }
  }
  // Row `half` of tile m sees the first `visible` keys only.
  __device__ void hide(int m, int half, int64_t visible, int lane) {
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i)
        if (8 * n + lane % 4 * 2 + i >= visible) scores[m][n][2 * half + i] = -INFINITY;
  }
  // Scores become weights.
  __device__ void soften(float scale) {
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) soften_row(scores[m], sums[m], rows[m][half], half, scale);
  }
  __device__ void multiply_values(const uint4* tile, int lane) {
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      uint32_t weights[kTiles][4];
#pragma unroll
      for (int m = 0; m < kTiles; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float(&fragment)[4] = scores[m][2 * k + i / 2];
          weights[m][i] = packed_as<T>(fragment[i % 2 * 2], fragment[i % 2 * 2 + 1]);
        }
#pragma unroll
      for (int n = 0; n < kWidth / 8; n += 2) {
        uint32_t values[4];
        load_matrices_transposed(values, tile + swizzled(16 * k + lane % 16, n + lane / 16, kUnits));
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
          multiply_add_as<T>(sums[m][n], weights[m], values[0], values[1]);
          multiply_add_as<T>(sums[m][n + 1], weights[m], values[2], values[3]);
        }
      }
    }
  }
  // Row `half` of the lane in tile m begins at `to`; all lanes take part.
  __device__ void write(int m, int half, T* to, bool there, int units, int lane) const {
    const float inverse = 1 / sum_of_row(rows[m][half].sum);
#pragma unroll
    for (int n = 0; n < kWidth / 8; n += 4) {
      const auto pair = [&](int i) {
        const float(&fragment)[4] = sums[m][n + i];
        return packed_as<T>(fragment[2 * half] * inverse, fragment[2 * half + 1] * inverse);
      };
      const uint4 unit = whole_unit(pair(0), pair(1), pair(2), pair(3));
      const int place = n + lane % 4;
      if (there && place < units) *reinterpret_cast<uint4*>(to + 8 * place) = unit;
    }
  }

 private:
  static __device__ void soften_row(float (&scores)[kKeys / 8][4], float (&sums)[kWidth / 8][4],
                                    RunningRow& row, int half, float scale) {
    float largest = row.top;
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
      largest = larger(largest, larger(scores[n][2 * half], scores[n][2 * half + 1]));
    largest = largest_of_row(largest);
    if (__any_sync(0xffffffffu, row.outgrown(largest, scale))) {
      const float factor = row.follow(largest, scale);
#pragma unroll
      for (auto& fragment : sums) {
        fragment[2 * half] *= factor;
        fragment[2 * half + 1] *= factor;
      }
    }
    const float base = row.top * scale;
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& score = scores[n][2 * half + i];
        score = exp2_approximate(fmaf(score, scale, -base));
        row.sum += score;
      }
  }
};

template <class T, int kWidth, int kTiles>
__global__ void __launch_bounds__(kThreads)
    mma_kernel(const __grid_constant__ Attention a, float scale, unsigned blocks) {
  constexpr int kUnits = kWidth / 8, kTile = kKeys * kUnits, kQueries = 64 * kTiles;
  extern __shared__ uint4 memory[];
  uint4 *const q = memory, *const k = q + kQueries * kUnits, *const v = k + 2 * kTile;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, units = static_cast<int>(a.head_dim / 8);
  const SequenceHead head(a, blockIdx.x / blocks);
  const int64_t first = int64_t{kQueries} * (blockIdx.x % blocks);
  const int64_t row = first + 16 * kTiles * warp + lane / 4;
  const int64_t keys = a.causal ? min(a.keys, first + kQueries) : a.keys;
  const auto copy_keys = [&](uint4* to, const Attention::Operand& x, int64_t begin) {
    copy_rows<kKeys, kUnits>(to, reinterpret_cast<const char*>(head.in<T>(a, x) + begin * x.token_stride),
                             x.token_stride * int64_t{sizeof(T)}, a.keys - begin, units);
  };
  copy_rows<kQueries, kUnits>(q, reinterpret_cast<const char*>(head.in<T>(a, a.q) + first * a.q.token_stride),
                              a.q.token_stride * int64_t{sizeof(T)}, a.queries - first, units);
  copy_keys(k, a.k, 0);
  copy_keys(v, a.v, 0);
  commit_copies();
  WarpQueries<T, kWidth, kTiles> work;
  for (int64_t begin = 0, stage = 0; begin < keys; begin += kKeys, stage ^= 1) {
    if (begin + kKeys < keys) {
      copy_keys(k + (stage ^ 1) * kTile, a.k, begin + kKeys);
      copy_keys(v + (stage ^ 1) * kTile, a.v, begin + kKeys);
    }
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    if (begin == 0) work.load_queries(q, warp, lane);
    work.multiply_keys(k + stage * kTile, lane);
    if (begin + kKeys > a.keys || (a.causal && begin + kKeys > first)) {
#pragma unroll
      for (int i = 0; i < 2 * kTiles; ++i) {
        const int64_t seen = a.causal ? min(a.keys, row + 8 * i + 1) : a.keys;
        work.hide(i / 2, i % 2, seen - begin, lane);
      }
    }
    work.soften(scale);
    work.multiply_values(v + stage * kTile, lane);
    __syncthreads();
  }
  T* const y = head.out<T>(a);
#pragma unroll
  for (int i = 0; i < 2 * kTiles; ++i)
    work.write(i / 2, i % 2, y + (row + 8 * i) * a.y_token_stride, row + 8 * i < a.queries, units, lane);
}

template <class T, int kWidth, int kTiles>
void launch(const Attention& a, cudaStream_t stream) {
  constexpr int kQueries = 64 * kTiles, kBytes = (kQueries + 4 * kKeys) * kWidth * 2;
  const int64_t blocks = (a.queries + kQueries - 1) / kQueries;
  const auto grid = static_cast<unsigned>(a.outer * a.inner * a.heads * blocks);
  const auto kernel = mma_kernel<T, kWidth, kTiles>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "asking for shared memory");
  kernel<<<grid, kThreads, kBytes, stream>>>(a, attention_scale(a), static_cast<unsigned>(blocks));
  check_launch("computing attention");
}

template <class T>
void launch(const Attention& a, cudaStream_t stream) {
  if (a.head_dim > 64) return launch<T, 128, 1>(a, stream);
  // Warps with twice as many queries read shared memory half as often, but there are half as many.
  if (a.outer * a.inner * a.heads * a.queries >= 200000) return launch<T, 64, 2>(a, stream);
  launch<T, 64, 1>(a, stream);
}

}  // namespace

void attention_mma(const Attention& a, cudaStream_t stream) {
  if (a.q.data.type == DType::f16) {
    launch<__half>(a, stream);
  } else {
    launch<__nv_bfloat16>(a, stream);
  }
}

}  // namespace eg4d::cuda
