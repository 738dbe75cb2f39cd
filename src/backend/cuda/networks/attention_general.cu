// Attention of any types and extents. A block computes 64 queries of one head and at most 128 columns of
// their result; wider heads compute their scores again for each 128 columns.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/networks/attention_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 128, kQueries = 64, kKeys = 64, kDepth = 32, kSlice = 32;
constexpr int kRows = 8;  // of a thread, and four keys or columns: 16 threads beside each other
constexpr float kLowest = -3.4e38f;

// What the block reads at a time: 32 columns of queries and keys, or 32 keys' values; and the weights.
template <int kColumns>
struct Memory {
  union {
    struct {
      float q[kDepth][kQueries + 4], k[kDepth][kKeys + 4];
    } scores;
    float v[kSlice][kColumns + 4];
  };
  float weights[kKeys][kQueries + 4];
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
__device__ void load_turned(float (&to)[kDepth][kQueries + 4], const ConstArray& x, int64_t begin,
                            int64_t stride, int64_t first, int64_t rows, int64_t column, int64_t width) {
  const int d = threadIdx.x % kDepth;
#pragma unroll 4
  for (int row = threadIdx.x / kDepth; row < kQueries; row += kThreads / kDepth) {
    const bool there = first + row < rows && column + d < width;
    to[d][row] = there ? load(x, begin + (first + row) * stride + column + d) : 0;
  }
}
static_assert(kQueries == kKeys);

// Numbers that lie together.
template <int kCount>
__device__ void take(float (&to)[kCount], const float* from) {
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    const float4 x = *reinterpret_cast<const float4*>(from + i);
    to[i] = x.x;
    to[i + 1] = x.y;
    to[i + 2] = x.z;
    to[i + 3] = x.w;
  }
}

// What a block has to do.
struct Task {
  int64_t q, k, v, y;  // where the head begins
  int64_t first;       // query
  int64_t column;      // of the result
  __device__ Task(const Attention& a, int64_t index, int columns_at_once) {
    const int64_t blocks = (a.queries + kQueries - 1) / kQueries;
    first = index % blocks * kQueries;
    index /= blocks;
    const int64_t columns = (a.head_dim + columns_at_once - 1) / columns_at_once;
    column = index % columns * columns_at_once;
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

// A thread's part of a block: eight rows; of their scores four columns, of their results four of each 64.
template <int kColumns>
struct Part {
  int row = threadIdx.x / 16 * kRows, place = threadIdx.x % 16 * 4;
  float scores[kRows][4];
  float sums[kRows][kColumns / 16] = {};
  float total[kRows] = {}, top[kRows];

  __device__ Part() {
    for (float& t : top) t = kLowest;
  }
  __device__ void multiply_keys(const Attention& a, const Task& task, int64_t first_key,
                                Memory<kColumns>& memory) {
#pragma unroll
    for (auto& line : scores)
#pragma unroll
      for (float& score : line) score = 0;
    for (int64_t column = 0; column < a.head_dim; column += kDepth) {
      __syncthreads();
      load_turned(memory.scores.q, a.q.data, task.q, a.q.token_stride, task.first, a.queries, column,
                  a.head_dim);
      load_turned(memory.scores.k, a.k.data, task.k, a.k.token_stride, first_key, a.keys, column, a.head_dim);
      __syncthreads();
#pragma unroll 4
      for (int d = 0; d < kDepth; ++d) {
        float q[kRows], k[4];
        take(q, &memory.scores.q[d][row]);
        take(k, &memory.scores.k[d][place]);
#pragma unroll
        for (int i = 0; i < kRows; ++i)
#pragma unroll
          for (int j = 0; j < 4; ++j) scores[i][j] += q[i] * k[j];
      }
    }
  }
  // Scores become weights, in shared memory.
  __device__ void soften(const Attention& a, const Task& task, int64_t first_key, float scale,
                         Memory<kColumns>& memory) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
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
        scores[i][j] = exp2f(scores[i][j] - largest);
        total[i] += scores[i][j];
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int i = 0; i < kRows; i += 4)
        *reinterpret_cast<float4*>(&memory.weights[place + j][row + i]) =
            make_float4(scores[i][j], scores[i + 1][j], scores[i + 2][j], scores[i + 3][j]);
  }
  __device__ void multiply_values(const Attention& a, const Task& task, int64_t first_key,
                                  Memory<kColumns>& memory) {
    for (int slice = 0; slice < kKeys && first_key + slice < a.keys; slice += kSlice) {
      __syncthreads();
#pragma unroll 4
      for (int i = threadIdx.x; i < kSlice * kColumns; i += kThreads) {
        const int64_t key = first_key + slice + i / kColumns, column = task.column + i % kColumns;
        const bool there = key < a.keys && column < a.head_dim;
        memory.v[i / kColumns][i % kColumns] =
            there ? load(a.v.data, task.v + key * a.v.token_stride + column) : 0;
      }
      __syncthreads();
#pragma unroll 4
      for (int k = 0; k < kSlice; ++k) {
        float weights[kRows];
        take(weights, &memory.weights[slice + k][row]);
#pragma unroll
        for (int n = 0; n < kColumns / 64; ++n) {
          float v[4];
          take(v, &memory.v[k][64 * n + place]);
#pragma unroll
          for (int i = 0; i < kRows; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) sums[i][4 * n + j] += weights[i] * v[j];
        }
      }
    }
  }
  __device__ void write(const Attention& a, const Task& task) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const float sum = of_row(total[i], [](float x, float y) { return x + y; });
      if (task.first + row + i >= a.queries) continue;
#pragma unroll
      for (int j = 0; j < kColumns / 16; ++j) {
        const int64_t column = task.column + j / 4 * 64 + place + j % 4;
        if (column < a.head_dim)
          store(a.y, task.y + (task.first + row + i) * a.y_token_stride + column, sums[i][j] / sum);
      }
    }
  }

 private:
  // Over the 16 lanes that share a row.
  template <class Combine>
  static __device__ float of_row(float x, Combine combine) {
    for (int distance = 8; distance > 0; distance /= 2)
      x = combine(x, __shfl_xor_sync(0xffffffffu, x, distance));
    return x;
  }
};

template <int kColumns>
__global__ void __launch_bounds__(kThreads, kColumns > 64 ? 3 : 4)
    general_kernel(const __grid_constant__ Attention a, float scale, int64_t tasks) {
  __shared__ Memory<kColumns> memory;
  for (int64_t index = blockIdx.x; index < tasks; index += gridDim.x) {
    const Task task(a, index, kColumns);
    Part<kColumns> part;
    const int64_t keys = a.causal ? min(a.keys, task.first + kQueries) : a.keys;
    for (int64_t first_key = 0; first_key < keys; first_key += kKeys) {
      part.multiply_keys(a, task, first_key, memory);
      part.soften(a, task, first_key, scale, memory);
      part.multiply_values(a, task, first_key, memory);
    }
    part.write(a, task);
  }
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
  const int64_t at_once = a.head_dim <= 64 ? 64 : kGeneralColumns;
  const int64_t blocks = (a.queries + kQueries - 1) / kQueries,
                columns = (a.head_dim + at_once - 1) / at_once;
  const int64_t tasks = a.outer * a.inner * a.heads * columns * blocks;
  const auto grid = static_cast<unsigned>(std::min<int64_t>(tasks, INT32_MAX));
  const auto kernel = at_once == 64 ? general_kernel<64> : general_kernel<kGeneralColumns>;
  kernel<<<grid, kThreads, 0, stream>>>(a, attention_scale(a), tasks);
  check_launch("computing attention");
}

}  // namespace eg4d::cuda
