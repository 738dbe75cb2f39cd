// Attention of any types and extents. A block computes 64 queries of one head and 128 columns of their
// result; wider heads compute their scores again for each 128 columns.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/networks/attention_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 256, kQueries = 64, kKeys = 64, kDepth = 32, kColumns = kGeneralColumns, kSlice = 32;
constexpr float kLowest = -3.4e38f;

// What the block reads at a time: 32 columns of queries and keys, or 32 keys' values.
union Operands {
  struct {
    float q[kDepth][kQueries + 4], k[kDepth][kKeys + 4];
  } scores;
  float v[kSlice][kColumns + 4];
};

template <class AnyArray>
__device__ float load(const AnyArray& x, int64_t i) {
  switch (x.type) {
    case DType::f16:
      return __half2float(static_cast<const __half*>(x.data)[i]);
    case DType::bf16:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(x.data)[i]);
    default:
      return static_cast<const float*>(x.data)[i];
  }
}
__device__ void store(const Array& x, int64_t i, float value) {
  switch (x.type) {
    case DType::f16:
      static_cast<__half*>(x.data)[i] = __float2half_rn(value);
      break;
    case DType::bf16:
      static_cast<__nv_bfloat16*>(x.data)[i] = __float2bfloat16_rn(value);
      break;
    default:
      static_cast<float*>(x.data)[i] = value;
  }
}

// Rows first … of a head, columns from `column` on, turned around; zeros beyond the ends.
template <int kRows>
__device__ void load_turned(float (&to)[kDepth][kRows + 4], const ConstArray& x, int64_t begin,
                            int64_t stride, int64_t first, int64_t rows, int64_t column, int64_t width) {
  for (int i = threadIdx.x; i < kRows * kDepth; i += kThreads) {
    const int row = i / kDepth, d = i % kDepth;
    const bool there = first + row < rows && column + d < width;
    to[d][row] = there ? load(x, begin + (first + row) * stride + column + d) : 0;
  }
}

__device__ float4 four(const float* at) {
  return *reinterpret_cast<const float4*>(at);
}

// What a block has to do, and a thread of it: four rows; of their scores four columns, of their results twice
// four.
struct Task {
  int64_t q, k, v, y;  // where the head begins
  int64_t first;       // query
  int64_t column;      // of the result
  __device__ Task(const Attention& a, int64_t index) {
    const int64_t blocks = (a.queries + kQueries - 1) / kQueries;
    first = index % blocks * kQueries;
    index /= blocks;
    const int64_t columns = (a.head_dim + kColumns - 1) / kColumns;
    column = index % columns * kColumns;
    index /= columns;
    const int64_t head = index % a.heads * a.head_dim;
    index /= a.heads;
    const int64_t inner = index % a.inner, outer = index / a.inner;
    q = outer * a.q.outer_stride + inner * a.q.inner_stride + head;
    k = outer * a.k.outer_stride + inner * a.k.inner_stride + head;
    v = outer * a.v.outer_stride + inner * a.v.inner_stride + head;
    y = outer * a.y_outer_stride + inner * a.y_inner_stride + head;
  }
};

// Scores of the block's queries with 64 keys.
__device__ void multiply_keys(const Attention& a, const Task& task, int64_t first_key, Operands& memory,
                              float (&scores)[4][4]) {
  const int row = threadIdx.x / 16 * 4, key = threadIdx.x % 16 * 4;
  for (auto& line : scores)
    for (float& score : line) score = 0;
  for (int64_t column = 0; column < a.head_dim; column += kDepth) {
    __syncthreads();
    load_turned<kQueries>(memory.scores.q, a.q.data, task.q, a.q.token_stride, task.first, a.queries, column,
                          a.head_dim);
    load_turned<kKeys>(memory.scores.k, a.k.data, task.k, a.k.token_stride, first_key, a.keys, column,
                       a.head_dim);
    __syncthreads();
    for (int d = 0; d < kDepth; ++d) {
      const float4 q = four(&memory.scores.q[d][row]), k = four(&memory.scores.k[d][key]);
      const float of_q[4] = {q.x, q.y, q.z, q.w}, of_k[4] = {k.x, k.y, k.z, k.w};
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) scores[i][j] += of_q[i] * of_k[j];
    }
  }
}

// sums += weights·values of 64 keys
__device__ void multiply_values(const Attention& a, const Task& task, int64_t first_key, Operands& memory,
                                const float (&weights)[kQueries][kKeys + 4], float (&sums)[4][8]) {
  const int row = threadIdx.x / 16 * 4, place = threadIdx.x % 16 * 4;
  for (int slice = 0; slice < kKeys && first_key + slice < a.keys; slice += kSlice) {
    __syncthreads();
    for (int i = threadIdx.x; i < kSlice * kColumns; i += kThreads) {
      const int64_t key = first_key + slice + i / kColumns, column = task.column + i % kColumns;
      memory.v[i / kColumns][i % kColumns] =
          key < a.keys && column < a.head_dim ? load(a.v.data, task.v + key * a.v.token_stride + column) : 0;
    }
    __syncthreads();
    for (int k = 0; k < kSlice; ++k) {
      const float4 left = four(&memory.v[k][place]), right = four(&memory.v[k][kColumns / 2 + place]);
      const float v[8] = {left.x, left.y, left.z, left.w, right.x, right.y, right.z, right.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float weight = weights[row + i][slice + k];
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[i][j] += weight * v[j];
      }
    }
  }
}

// The 16 lanes that share a row.
template <class Combine>
__device__ float of_row(float x, Combine combine) {
  for (int distance = 8; distance > 0; distance /= 2)
    x = combine(x, __shfl_xor_sync(0xffffffffu, x, distance));
  return x;
}

__device__ void attend(const Attention& a, const Task& task, float scale, Operands& memory,
                       float (&weights)[kQueries][kKeys + 4]) {
  const int row = threadIdx.x / 16 * 4, place = threadIdx.x % 16 * 4;
  float sums[4][8] = {}, total[4] = {}, top[4] = {kLowest, kLowest, kLowest, kLowest};
  const int64_t keys = a.causal ? min(a.keys, task.first + kQueries) : a.keys;
  for (int64_t first_key = 0; first_key < keys; first_key += kKeys) {
    float scores[4][4];
    multiply_keys(a, task, first_key, memory, scores);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t visible = a.causal ? min(a.keys, task.first + row + i + 1) : a.keys;
      float largest = top[i];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        scores[i][j] = first_key + place + j < visible ? scores[i][j] * scale : -INFINITY;
        largest = fmaxf(largest, scores[i][j]);
      }
      largest = of_row(largest, [](float x, float y) { return fmaxf(x, y); });
      const float factor = exp2f(top[i] - largest);
      top[i] = largest;
      total[i] *= factor;
#pragma unroll
      for (float& sum : sums[i]) sum *= factor;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float weight = exp2f(scores[i][j] - largest);
        total[i] += weight;
        weights[row + i][place + j] = weight;
      }
    }
    multiply_values(a, task, first_key, memory, weights, sums);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float sum = of_row(total[i], [](float x, float y) { return x + y; });
    if (task.first + row + i >= a.queries) continue;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int64_t column = task.column + j / 4 * (kColumns / 2) + place + j % 4;
      if (column < a.head_dim)
        store(a.y, task.y + (task.first + row + i) * a.y_token_stride + column, sums[i][j] / sum);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    general_kernel(const __grid_constant__ Attention a, float scale, int64_t tasks) {
  __shared__ Operands memory;
  __shared__ float weights[kQueries][kKeys + 4];
  for (int64_t i = blockIdx.x; i < tasks; i += gridDim.x) attend(a, Task(a, i), scale, memory, weights);
}

__global__ void __launch_bounds__(kThreads)
    move_kernel(const __grid_constant__ Attention from, const __grid_constant__ Attention to, int64_t count) {
  const int64_t width = to.heads * to.head_dim, step = int64_t{kThreads} * gridDim.x;
  for (int64_t i = int64_t{kThreads} * blockIdx.x + threadIdx.x; i < count; i += step) {
    const int64_t token = i / width % to.queries, sequence = i / width / to.queries;
    store(to.y,
          sequence / to.inner * to.y_outer_stride + sequence % to.inner * to.y_inner_stride +
              token * to.y_token_stride + i % width,
          load(from.y, i));
  }
}

}  // namespace

void move_result(const Attention& from, const Attention& to, cudaStream_t stream) {
  const int64_t count = to.outer * to.inner * to.queries * to.heads * to.head_dim;
  const auto grid = static_cast<unsigned>(std::min<int64_t>((count + kThreads - 1) / kThreads, 1 << 16));
  move_kernel<<<grid, kThreads, 0, stream>>>(from, to, count);
  check_launch("moving attention's result");
}

void attention_general(const Attention& a, cudaStream_t stream) {
  const int64_t blocks = (a.queries + kQueries - 1) / kQueries,
                columns = (a.head_dim + kColumns - 1) / kColumns;
  const int64_t tasks = a.outer * a.inner * a.heads * columns * blocks;
  const auto grid = static_cast<unsigned>(std::min<int64_t>(tasks, INT32_MAX));
  general_kernel<<<grid, kThreads, 0, stream>>>(a, attention_scale(a), tasks);
  check_launch("computing attention");
}

}  // namespace eg4d::cuda
