// Attention on the tensor cores of every GPU since sm_80: a block of four warps computes 64 queries of one
// head, a warp 16 of them ("FlashAttention-2", Dao 2023).

#include "backend/cuda/check.h"
#include "backend/cuda/networks/attention_half.cuh"
#include "backend/cuda/networks/attention_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 128, kQueries = 64, kKeys = 64;

// Rows of a tile in shared memory are copied; zeros beyond the ends.
template <int kUnits>
__device__ void copy_rows(uint4* to, const char* from, int64_t stride_bytes, int64_t rows, int units) {
  for (int i = threadIdx.x; i < 64 * kUnits; i += kThreads) {
    const int row = i / kUnits, unit = i % kUnits;
    const bool there = row < rows && unit < units;
    copy_unit_async(to + swizzled(row, unit, kUnits), there ? from + row * stride_bytes + 16 * unit : from,
                    there);
  }
}

// What a warp computes: rows g and 8 + g of it are a lane's.
template <class T, int kWidth>
struct WarpQueries {
  static constexpr int kUnits = kWidth / 8;
  uint32_t queries[kWidth / 16][4];
  float scores[kKeys / 8][4];
  float sums[kWidth / 8][4] = {};
  RunningRow rows[2];

  __device__ void load_queries(const uint4* tile, int warp, int lane) {
#pragma unroll
    for (int d = 0; d < kWidth / 16; ++d)
      load_matrices(queries[d], tile + swizzled(16 * warp + lane % 16, 2 * d + lane / 16, kUnits));
  }
  __device__ void multiply_keys(const uint4* tile, int lane) {
#pragma unroll
    for (int n = 0; n < kKeys / 8; n += 2) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[n][i] = scores[n + 1][i] = 0;
#pragma unroll
      for (int d = 0; d < kWidth / 16; ++d) {
        uint32_t keys[4];
        load_matrices(keys, tile + swizzled(8 * n + lane % 8 + lane / 16 * 8, 2 * d + lane / 8 % 2, kUnits));
        multiply_add_as<T>(scores[n], queries[d], keys[0], keys[1]);
        multiply_add_as<T>(scores[n + 1], queries[d], keys[2], keys[3]);
      }
    }
  }
  // Row `half` sees the tile's first `visible` keys only.
  __device__ void hide(int half, int64_t visible, int lane) {
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i)
        if (8 * n + lane % 4 * 2 + i >= visible) scores[n][2 * half + i] = -INFINITY;
  }
  // Scores become weights.
  __device__ void soften(float scale) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest = rows[half].top;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
        largest = larger(largest, larger(scores[n][2 * half], scores[n][2 * half + 1]));
      largest = largest_of_row(largest);
      if (__any_sync(0xffffffffu, rows[half].outgrown(largest, scale))) {
        const float factor = rows[half].follow(largest, scale);
#pragma unroll
        for (int n = 0; n < kWidth / 8; ++n) {
          sums[n][2 * half] *= factor;
          sums[n][2 * half + 1] *= factor;
        }
      }
      const float base = rows[half].top * scale;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& score = scores[n][2 * half + i];
          score = exp2_approximate(fmaf(score, scale, -base));
          rows[half].sum += score;
        }
    }
  }
  __device__ void multiply_values(const uint4* tile, int lane) {
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      const float(&left)[4] = scores[2 * k], (&right)[4] = scores[2 * k + 1];
      const uint32_t weights[4] = {packed_as<T>(left[0], left[1]), packed_as<T>(left[2], left[3]),
                                   packed_as<T>(right[0], right[1]), packed_as<T>(right[2], right[3])};
#pragma unroll
      for (int n = 0; n < kWidth / 8; n += 2) {
        uint32_t values[4];
        load_matrices_transposed(values, tile + swizzled(16 * k + lane % 16, n + lane / 16, kUnits));
        multiply_add_as<T>(sums[n], weights, values[0], values[1]);
        multiply_add_as<T>(sums[n + 1], weights, values[2], values[3]);
      }
    }
  }
  // Row `half` of the lane begins at `to`; all lanes take part.
  __device__ void write(int half, T* to, bool there, int units, int lane) const {
    const float inverse = 1 / sum_of_row(rows[half].sum);
#pragma unroll
    for (int n = 0; n < kWidth / 8; n += 4) {
      const auto pair = [&](int i) {
        return packed_as<T>(sums[n + i][2 * half] * inverse, sums[n + i][2 * half + 1] * inverse);
      };
      const uint4 unit = whole_unit(pair(0), pair(1), pair(2), pair(3));
      const int place = n + lane % 4;
      if (there && place < units) *reinterpret_cast<uint4*>(to + 8 * place) = unit;
    }
  }
};

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    mma_kernel(const __grid_constant__ Attention a, float scale, unsigned blocks) {
  constexpr int kUnits = kWidth / 8, kTile = 64 * kUnits;
  extern __shared__ uint4 memory[];
  uint4 *const q = memory, *const k = q + kTile, *const v = k + 2 * kTile;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, units = static_cast<int>(a.head_dim / 8);
  const SequenceHead head(a, blockIdx.x / blocks);
  const int64_t first = int64_t{kQueries} * (blockIdx.x % blocks), row = first + 16 * warp + lane / 4;
  const int64_t keys = a.causal ? min(a.keys, first + kQueries) : a.keys;
  const auto copy = [&](uint4* to, const Attention::Operand& x, int64_t begin, int64_t tokens) {
    copy_rows<kUnits>(to, reinterpret_cast<const char*>(head.in<T>(a, x) + begin * x.token_stride),
                      x.token_stride * int64_t{sizeof(T)}, tokens - begin, units);
  };
  copy(q, a.q, first, a.queries);
  copy(k, a.k, 0, a.keys);
  copy(v, a.v, 0, a.keys);
  commit_copies();
  WarpQueries<T, kWidth> work;
  for (int64_t begin = 0, stage = 0; begin < keys; begin += kKeys, stage ^= 1) {
    if (begin + kKeys < keys) {
      copy(k + (stage ^ 1) * kTile, a.k, begin + kKeys, a.keys);
      copy(v + (stage ^ 1) * kTile, a.v, begin + kKeys, a.keys);
    }
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    if (begin == 0) work.load_queries(q, warp, lane);
    work.multiply_keys(k + stage * kTile, lane);
    if (begin + kKeys > a.keys || (a.causal && begin + kKeys > first))
      for (int half = 0; half < 2; ++half)
        work.hide(half, (a.causal ? min(a.keys, row + 8 * half + 1) : a.keys) - begin, lane);
    work.soften(scale);
    work.multiply_values(v + stage * kTile, lane);
    __syncthreads();
  }
  T* const y = head.out<T>(a);
  for (int half = 0; half < 2; ++half)
    work.write(half, y + (row + 8 * half) * a.y_token_stride, row + 8 * half < a.queries, units, lane);
}

template <class T, int kWidth>
void launch(const Attention& a, cudaStream_t stream) {
  const int64_t blocks = (a.queries + kQueries - 1) / kQueries;
  const auto grid = static_cast<unsigned>(a.outer * a.inner * a.heads * blocks);
  constexpr int kBytes = 5 * 64 * kWidth * 2;
  const auto kernel = mma_kernel<T, kWidth>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "asking for shared memory");
  kernel<<<grid, kThreads, kBytes, stream>>>(a, attention_scale(a), static_cast<unsigned>(blocks));
  check_launch("computing attention");
}

template <class T>
void launch(const Attention& a, cudaStream_t stream) {
  if (a.head_dim <= 64) {
    launch<T, 64>(a, stream);
  } else {
    launch<T, 128>(a, stream);
  }
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
