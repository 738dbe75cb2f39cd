// Attention with heads of up to 512 numbers, as in the autoencoders' middle. A block computes 64 queries of
// one head, 32 keys at a time: its eight warps share the scores first, 16 queries by 16 keys each, then the
// results' columns, 64 queries by 64 columns each. Weights pass through shared memory from one to the other.

#include "backend/cuda/check.h"
#include "backend/cuda/networks/attention_half.cuh"
#include "backend/cuda/networks/attention_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 256, kQueries = 64, kKeys = 32;
constexpr int kUnits = static_cast<int>(kWideWidth) / 8, kWeightUnits = 8;

struct Memory {
  uint4 queries[kQueries * kUnits], keys[kKeys * kUnits], values[kKeys * kUnits];
  uint4 weights[kQueries * kWeightUnits];
  float tops[2][kQueries], sums[2][kQueries];  // of the tile's left and right half
  float factors[kQueries];
};
static_assert(sizeof(Memory) <= kWideSharedBytes);

// `units` of each row; zeros beyond the ends.
template <int kRows>
__device__ void copy_rows(uint4* to, const char* from, int64_t stride_bytes, int64_t rows, int there,
                          int units) {
  for (int i = threadIdx.x; i < kRows * kUnits; i += kThreads) {
    const int row = i / kUnits, unit = i % kUnits;
    if (unit >= units) continue;
    const bool present = row < rows && unit < there;
    copy_unit_async(to + swizzled(row, unit, kUnits), present ? from + row * stride_bytes + 16 * unit : from,
                    present);
  }
}

// 16 queries (rows) by 16 keys (columns) of the tile's scores, a warp's.
template <class T>
struct Scores {
  int row, column, lane;  // of the tile, the first
  float scores[2][4];
  RunningRow rows[2];

  __device__ Scores(int warp, int lane_) : row(warp % 4 * 16), column(warp / 4 * 16), lane(lane_) {}
  __device__ int row_of(int half) const { return row + lane / 4 + 8 * half; }

  __device__ void multiply_keys(const Memory& memory, int depth) {
    for (auto& fragment : scores)
      for (float& score : fragment) score = 0;
#pragma unroll 4
    for (int unit = 0; unit < depth; unit += 2) {
      uint32_t q[4], k[4];
      load_matrices(q, memory.queries + swizzled(row + lane % 16, unit + lane / 16, kUnits));
      load_matrices(k,
                    memory.keys + swizzled(column + lane % 8 + lane / 16 * 8, unit + lane / 8 % 2, kUnits));
      multiply_add_as<T>(scores[0], q, k[0], k[1]);
      multiply_add_as<T>(scores[1], q, k[2], k[3]);
    }
  }
  // Hides what is not visible and tells the other warp of these rows how large the rest is.
  __device__ void tell_tops(Memory& memory, const int64_t (&visible)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest = kLowest;
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& score = scores[n][2 * half + i];
          if (column + 8 * n + lane % 4 * 2 + i >= visible[half]) score = -INFINITY;
          largest = larger(largest, score);
        }
      largest = largest_of_row(largest);
      if (lane % 4 == 0) memory.tops[column / 16][row_of(half)] = largest;
    }
  }
  __device__ void write_weights(Memory& memory, float scale) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = row_of(half);
      const float largest = larger(rows[half].top, larger(memory.tops[0][r], memory.tops[1][r]));
      const float factor = rows[half].outgrown(largest, scale) ? rows[half].follow(largest, scale) : 1;
      if (column == 0 && lane % 4 == 0) memory.factors[r] = factor;
      const float base = rows[half].top * scale;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const float left = exp2_approximate(fmaf(scores[n][2 * half], scale, -base)),
                    right = exp2_approximate(fmaf(scores[n][2 * half + 1], scale, -base));
        rows[half].sum += left + right;
        uint4* const unit = memory.weights + swizzled(r, column / 8 + n, kWeightUnits);
        reinterpret_cast<uint32_t*>(unit)[lane % 4] = packed_as<T>(left, right);
      }
    }
  }
  __device__ void tell_sums(Memory& memory) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = sum_of_row(rows[half].sum);
      if (lane % 4 == 0) memory.sums[column / 16][row_of(half)] = sum;
    }
  }
};

// All 64 queries (four times 16 rows), 64 columns of the results, a warp's.
template <class T>
struct Results {
  float sums[4][8][4] = {};

  __device__ void multiply_values(const Memory& memory, int warp, int lane) {
    float factors[4][2];
    bool outgrown = false;
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        factors[m][half] = memory.factors[16 * m + lane / 4 + 8 * half];
        outgrown |= factors[m][half] != 1;
      }
    if (__any_sync(0xffffffffu, outgrown)) {
#pragma unroll
      for (int m = 0; m < 4; ++m)
#pragma unroll
        for (auto& fragment : sums[m])
#pragma unroll
          for (int i = 0; i < 4; ++i) fragment[i] *= factors[m][i / 2];
    }
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      uint32_t weights[4][4];
#pragma unroll
      for (int m = 0; m < 4; ++m)
        load_matrices(weights[m],
                      memory.weights + swizzled(16 * m + lane % 16, 2 * k + lane / 16, kWeightUnits));
#pragma unroll
      for (int n = 0; n < 8; n += 2) {
        uint32_t values[4];
        load_matrices_transposed(
            values, memory.values + swizzled(16 * k + lane % 16, 8 * warp + n + lane / 16, kUnits));
#pragma unroll
        for (int m = 0; m < 4; ++m) {
          multiply_add_as<T>(sums[m][n], weights[m], values[0], values[1]);
          multiply_add_as<T>(sums[m][n + 1], weights[m], values[2], values[3]);
        }
      }
    }
  }
  // `to`: where the warp's columns of the block's first query go; `units` of them are there.
  __device__ void write(const Memory& memory, T* to, int64_t stride, int64_t rows, int units,
                        int lane) const {
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = 16 * m + lane / 4 + 8 * half;
        const float inverse = 1 / (memory.sums[0][row] + memory.sums[1][row]);
#pragma unroll
        for (int n = 0; n < 8; n += 4) {
          const auto pair = [&](int i) {
            const float(&fragment)[4] = sums[m][n + i];
            return packed_as<T>(fragment[2 * half] * inverse, fragment[2 * half + 1] * inverse);
          };
          const uint4 unit = whole_unit(pair(0), pair(1), pair(2), pair(3));
          const int place = n + lane % 4;
          if (row < rows && place < units) *reinterpret_cast<uint4*>(to + row * stride + 8 * place) = unit;
        }
      }
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    wide_kernel(const __grid_constant__ Attention a, float scale, unsigned blocks) {
  extern __shared__ uint4 raw[];
  Memory& memory = *reinterpret_cast<Memory*>(raw);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int there = static_cast<int>(a.head_dim / 8), units = (there + 1) / 2 * 2;
  const SequenceHead head(a, blockIdx.x / blocks);
  const int64_t first = int64_t{kQueries} * (blockIdx.x % blocks);
  const int64_t keys = a.causal ? min(a.keys, first + kQueries) : a.keys;
  const auto copy_keys = [&](uint4* to, const Attention::Operand& x, int64_t begin) {
    if (begin < keys)
      copy_rows<kKeys>(to, reinterpret_cast<const char*>(head.in<T>(a, x) + begin * x.token_stride),
                       x.token_stride * int64_t{sizeof(T)}, a.keys - begin, there, units);
    commit_copies();
  };
  copy_rows<kQueries>(memory.queries,
                      reinterpret_cast<const char*>(head.in<T>(a, a.q) + first * a.q.token_stride),
                      a.q.token_stride * int64_t{sizeof(T)}, a.queries - first, there, units);
  copy_keys(memory.keys, a.k, 0);
  copy_keys(memory.values, a.v, 0);
  Scores<T> scores(warp, lane);
  Results<T> results;
  const bool has_columns = 8 * warp < there;
  for (int64_t begin = 0; begin < keys; begin += kKeys) {
    wait_for_copies<1>();
    __syncthreads();
    scores.multiply_keys(memory, units);
    int64_t visible[2] = {a.keys - begin, a.keys - begin};
    if (a.causal)
      for (int half = 0; half < 2; ++half)
        visible[half] = min(visible[half], first + scores.row_of(half) + 1 - begin);
    scores.tell_tops(memory, visible);
    __syncthreads();
    copy_keys(memory.keys, a.k, begin + kKeys);
    scores.write_weights(memory, scale);
    wait_for_copies<1>();
    __syncthreads();
    if (has_columns) results.multiply_values(memory, warp, lane);
    __syncthreads();
    copy_keys(memory.values, a.v, begin + kKeys);
  }
  scores.tell_sums(memory);
  __syncthreads();
  if (has_columns)
    results.write(memory, head.out<T>(a) + first * a.y_token_stride + 64 * warp, a.y_token_stride,
                  a.queries - first, there - 8 * warp, lane);
}

}  // namespace

void attention_wide(const Attention& a, cudaStream_t stream) {
  const int64_t blocks = (a.queries + kQueries - 1) / kQueries;
  const auto grid = static_cast<unsigned>(a.outer * a.inner * a.heads * blocks);
  const auto kernel = a.q.data.type == DType::f16 ? wide_kernel<__half> : wide_kernel<__nv_bfloat16>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Memory)),
        "asking for shared memory");
  kernel<<<grid, kThreads, sizeof(Memory), stream>>>(a, attention_scale(a), static_cast<unsigned>(blocks));
  check_launch("computing attention");
}

}  // namespace eg4d::cuda
