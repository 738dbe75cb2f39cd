// Attention of any shape and type in f32, as it is defined but for the order of sums: tiles of queries walk
// over tiles of keys, and what was summed under a smaller largest score is scaled down (Milakov & Gimelshein
// 2018; Dao et al. 2022). For what the faster kernels do not take, and to hold those to.

#include "backend/cuda/check.h"
#include "backend/cuda/networks/network_kernels.h"
#include "backend/cuda/networks/typed_arrays.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kTile = 32;    // queries, keys, and elements of a head that are multiplied at a time
constexpr int kValues = 64;  // elements of a head that a block puts out
constexpr int kPlainThreads = 128;

// A block: 32 queries of one head of one sequence, and 64 elements of what they become. Threads lie 8 × 16
// over the scores (4 × 2 each) and over the output (4 × 4 each).
__global__ void __launch_bounds__(kPlainThreads) attention_plain_kernel(Attention a) {
  __shared__ float q[kTile][kTile + 1], k[kTile][kTile + 1], v[kTile][kValues], p[kTile][kTile + 1];
  __shared__ float largest[kTile], sums[kTile], corrections[kTile];
  const int thread = threadIdx.x, down = thread / 16, across = thread % 16;
  const int64_t slices = (a.head_dim + kValues - 1) / kValues;
  const int64_t sequence = blockIdx.z, head = blockIdx.y / slices, slice = blockIdx.y % slices * kValues;
  const int64_t outer = sequence / a.inner, inner = sequence % a.inner;
  const int64_t first_query = static_cast<int64_t>(blockIdx.x) * kTile;
  const auto begin = [&](const Attention::Operand& x) {
    return outer * x.outer_stride + inner * x.inner_stride + head * a.head_dim;
  };
  const int64_t q_begin = begin(a.q), k_begin = begin(a.k), v_begin = begin(a.v);
  const float scale = 1 / sqrtf(static_cast<float>(a.head_dim));

  float output[4][4] = {};
  if (thread < kTile) {
    largest[thread] = -INFINITY;
    sums[thread] = 0;
  }
  const int64_t keys_end = a.causal ? min(a.keys, first_query + kTile) : a.keys;
  for (int64_t first_key = 0; first_key < keys_end; first_key += kTile) {
    float scores[4][2] = {};
    for (int64_t c = 0; c < a.head_dim; c += kTile) {
      __syncthreads();
      for (int i = thread; i < kTile * kTile; i += kPlainThreads) {
        const int token = i / kTile, element = i % kTile;
        const bool inside = c + element < a.head_dim;
        const int64_t query = first_query + token, key = first_key + token;
        q[token][element] = inside && query < a.queries
                                ? load(a.q.data, q_begin + query * a.q.token_stride + c + element)
                                : 0.0f;
        k[token][element] =
            inside && key < a.keys ? load(a.k.data, k_begin + key * a.k.token_stride + c + element) : 0.0f;
      }
      __syncthreads();
#pragma unroll 8
      for (int e = 0; e < kTile; ++e)
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
          for (int j = 0; j < 2; ++j)
            scores[i][j] = fmaf(q[down + 8 * i][e], k[across + 16 * j][e], scores[i][j]);
    }
    for (int i = thread; i < kTile * kValues; i += kPlainThreads) {
      const int token = i / kValues, element = i % kValues;
      const int64_t key = first_key + token;
      v[token][element] = slice + element < a.head_dim && key < a.keys
                              ? load(a.v.data, v_begin + key * a.v.token_stride + slice + element)
                              : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int64_t query = first_query + down + 8 * i, key = first_key + across + 16 * j;
        const bool seen = key < a.keys && !(a.causal && key > query);
        p[down + 8 * i][across + 16 * j] = seen ? scores[i][j] * scale : -INFINITY;
      }
    __syncthreads();
    // Four threads a query.
    const int row = thread / 4, quarter = thread % 4;
    float most = largest[row];
    for (int j = quarter; j < kTile; j += 4) most = fmaxf(most, p[row][j]);
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
    const float reference = most == -INFINITY ? 0.0f : most;
    float sum = 0;
    for (int j = quarter; j < kTile; j += 4) sum += p[row][j] = expf(p[row][j] - reference);
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    if (quarter == 0) {
      const float correction = expf(largest[row] - reference);
      corrections[row] = correction;
      sums[row] = sums[row] * correction + sum;
      largest[row] = most;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float correction = corrections[down + 8 * i];
#pragma unroll
      for (int j = 0; j < 4; ++j) output[i][j] *= correction;
    }
#pragma unroll 8
    for (int e = 0; e < kTile; ++e)
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
          output[i][j] = fmaf(p[down + 8 * i][e], v[e][across + 16 * j], output[i][j]);
  }
  const int64_t y_begin = outer * a.y_outer_stride + inner * a.y_inner_stride + head * a.head_dim + slice;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t query = first_query + down + 8 * i;
    if (query >= a.queries) continue;
    const float gain = 1 / sums[down + 8 * i];
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (slice + across + 16 * j < a.head_dim)
        store(a.y, y_begin + query * a.y_token_stride + across + 16 * j, output[i][j] * gain);
  }
}

}  // namespace

void attention_plain(const Attention& a, cudaStream_t stream) {
  if (a.outer * a.inner * a.heads * a.queries * a.head_dim == 0) return;
  const int64_t slices = (a.head_dim + kValues - 1) / kValues;
  constexpr int64_t kMost = 65535;  // blocks along an axis
  Attention some = a;
  const auto launch = [&] {
    const dim3 blocks(static_cast<unsigned>((a.queries + kTile - 1) / kTile),
                      static_cast<unsigned>(a.heads * slices),
                      static_cast<unsigned>(some.outer * some.inner));
    attention_plain_kernel<<<blocks, kPlainThreads, 0, stream>>>(some);
    check_launch("computing an attention");
  };
  if (a.outer * a.inner <= kMost) return launch();
  // Few sequences lie far apart, many close together.
  some.outer = 1;
  for (int64_t o = 0; o < a.outer; ++o)
    for (int64_t i = 0; i < a.inner; i += kMost) {
      some.inner = std::min(a.inner - i, kMost);
      const auto at = [&](const Attention::Operand& x) {
        Attention::Operand moved = x;
        moved.data = x.data.at(o * x.outer_stride + i * x.inner_stride);
        return moved;
      };
      some.q = at(a.q);
      some.k = at(a.k);
      some.v = at(a.v);
      some.y = a.y.at(o * a.y_outer_stride + i * a.y_inner_stride);
      launch();
    }
}

}  // namespace eg4d::cuda
