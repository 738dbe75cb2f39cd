// Attention over the frames of a video: very many sequences of at most 32 tokens, whose speed is that of
// memory. A warp computes one head of one sequence with nothing but its registers. What is summed over may be
// taken in any order, and so may the columns of the values: each lane takes those numbers that lie together
// in memory, 16 bytes at a time, and writes its results likewise.

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/networks/attention_half.cuh"
#include "backend/cuda/networks/attention_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kRows = static_cast<int>(kFrames);  // at most; kTokens of them can be there

struct Unit {
  uint32_t words[4];
};
__device__ Unit load_unit(const void* at, bool there) {
  const uint4 x = there ? *static_cast<const uint4*>(at) : make_uint4(0, 0, 0, 0);
  return {{x.x, x.y, x.z, x.w}};
}

// Lane 4g + t has the columns 8t … 8t + 7 and 32 + 8t … of tokens g, 8 + g, …: of every fragment's row a
// quarter of the columns.
struct Rows {
  Unit units[kRows / 8][2];
  template <int kTokens, class T>
  __device__ void load(const T* from, int64_t stride, int tokens, int lane) {
#pragma unroll
    for (int r = 0; r < kRows / 8; ++r) {
      const int row = 8 * r + lane / 4;
#pragma unroll
      for (int half = 0; half < 2; ++half)
        units[r][half] =
            load_unit(from + row * stride + 32 * half + lane % 4 * 8, 8 * r < kTokens && row < tokens);
    }
  }
};

// Lane 4g + t has the values of keys 2t, 2t + 1, 8 + 2t, 9 + 2t (and 16 more) in 8 columns, numbered so that
// the results' columns are those of Rows.
struct Values {
  Unit units[kRows / 16][4];
  template <int kTokens, class T>
  __device__ void load(const T* from, int64_t stride, int tokens, int lane) {
    const int column = lane / 8 * 8 + (lane / 4 % 2) * 32;
#pragma unroll
    for (int depth = 0; depth < kRows / 16; ++depth)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = 16 * depth + i / 2 * 8 + lane % 4 * 2 + i % 2;
        units[depth][i] =
            load_unit(from + key * stride + column, 16 * depth + i / 2 * 8 < kTokens && key < tokens);
      }
  }
  // Of the keys `first` and the next, of the lane's column j.
  __device__ uint32_t pair(int depth, int first, int j) const {
    return __byte_perm(units[depth][first].words[j / 2], units[depth][first + 1].words[j / 2],
                       j % 2 ? 0x7632 : 0x5410);
  }
};

using Scores = float[kRows / 8][4];

// Of 16 queries with all keys.
template <class T>
__device__ void multiply_keys(const Rows& q, int tile, const Rows& k, int keys, Scores& scores) {
#pragma unroll
  for (int n = 0; n < kRows / 8; ++n) {
#pragma unroll
    for (float& score : scores[n]) score = 0;
    if (8 * n >= keys) continue;
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int i = 0; i < 4; i += 2) {
        const Unit &above = q.units[2 * tile][half], &below = q.units[2 * tile + 1][half];
        const uint32_t a[4] = {above.words[i], below.words[i], above.words[i + 1], below.words[i + 1]};
        multiply_add_as<T>(scores[n], a, k.units[n][half].words[i], k.units[n][half].words[i + 1]);
      }
  }
}

// Scores become weights that have yet to be divided by the sums of the rows g and 8 + g, which it returns.
__device__ float2 soften(Scores& scores, int row, int lane, int keys, bool causal, float scale) {
  float sums[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int visible = causal ? min(keys, row + 8 * half + 1) : keys;
    float top = kLowest;
#pragma unroll
    for (int n = 0; n < kRows / 8; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& score = scores[n][2 * half + i];
        if (8 * n + lane % 4 * 2 + i >= visible) score = -INFINITY;
        top = larger(top, score);
      }
    top = largest_of_row(top) * scale;
    float sum = 0;
#pragma unroll
    for (int n = 0; n < kRows / 8; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& score = scores[n][2 * half + i];
        score = exp2_approximate(fmaf(score, scale, -top));
        sum += score;
      }
    sums[half] = sum_of_row(sum);
  }
  return make_float2(sums[0], sums[1]);
}

template <class T>
__device__ void multiply_values(const Scores& weights, const Values& v, int keys, float (&sums)[8][4]) {
#pragma unroll
  for (int depth = 0; depth < kRows / 16; ++depth) {
    if (16 * depth >= keys) continue;
    const float(&left)[4] = weights[2 * depth], (&right)[4] = weights[2 * depth + 1];
    const uint32_t a[4] = {packed_as<T>(left[0], left[1]), packed_as<T>(left[2], left[3]),
                           packed_as<T>(right[0], right[1]), packed_as<T>(right[2], right[3])};
#pragma unroll
    for (int j = 0; j < 8; ++j) multiply_add_as<T>(sums[j], a, v.pair(depth, 0, j), v.pair(depth, 2, j));
  }
}

// Row g (or 8 + g) of a fragment in 8 columns of it each: `first` is the number of the row's first sum.
template <class T>
__device__ void write_row(const float (&sums)[8][4], int first, float total, T* to) {
  const float inverse = 1 / total;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int at = first + half;
    const uint4 unit = make_uint4(packed_as<T>(sums[0][at] * inverse, sums[1][at] * inverse),
                                  packed_as<T>(sums[2][at] * inverse, sums[3][at] * inverse),
                                  packed_as<T>(sums[4][at] * inverse, sums[5][at] * inverse),
                                  packed_as<T>(sums[6][at] * inverse, sums[7][at] * inverse));
    *reinterpret_cast<uint4*>(to + 32 * half) = unit;
  }
}

template <class T, int kTokens>
__global__ void __launch_bounds__(32 * kWarps, kTokens > 24 ? 3 : 4)
    frames_kernel(const __grid_constant__ Attention a, float scale, unsigned count) {
  const unsigned index = blockIdx.x * kWarps + threadIdx.x / 32;
  if (index >= count) return;
  const int lane = threadIdx.x % 32, keys = static_cast<int>(a.keys), queries = static_cast<int>(a.queries);
  const SequenceHead head(a, index);
  Rows q, k;
  Values v;
  q.load<kTokens>(head.in<T>(a, a.q), a.q.token_stride, queries, lane);
  k.load<kTokens>(head.in<T>(a, a.k), a.k.token_stride, keys, lane);
  v.load<kTokens>(head.in<T>(a, a.v), a.v.token_stride, keys, lane);
  T* const y = head.out<T>(a) + lane % 4 * 8;
#pragma unroll
  for (int tile = 0; tile < kRows / 16; ++tile) {
    if (16 * tile >= queries) break;
    const int row = 16 * tile + lane / 4;
    Scores scores;
    multiply_keys<T>(q, tile, k, keys, scores);
    const float2 total = soften(scores, row, lane, keys, a.causal, scale);
    float sums[8][4] = {};
    multiply_values<T>(scores, v, keys, sums);
    if (row < queries) write_row(sums, 0, total.x, y + row * a.y_token_stride);
    if (row + 8 < queries) write_row(sums, 2, total.y, y + (row + 8) * a.y_token_stride);
  }
}

template <class T>
void launch(const Attention& a, cudaStream_t stream) {
  const int64_t count = a.outer * a.inner * a.heads;
  const auto grid = static_cast<unsigned>((count + kWarps - 1) / kWarps);
  const auto kernel = std::max(a.queries, a.keys) > 24 ? frames_kernel<T, 32> : frames_kernel<T, 24>;
  kernel<<<grid, 32 * kWarps, 0, stream>>>(a, attention_scale(a), static_cast<unsigned>(count));
  check_launch("computing attention over frames");
}

}  // namespace

void attention_frames(const Attention& a, cudaStream_t stream) {
  if (a.q.data.type == DType::f16) {
    launch<__half>(a, stream);
  } else {
    launch<__nv_bfloat16>(a, stream);
  }
}

}  // namespace eg4d::cuda
