#pragma once

// Group norm in three passes: sums of every channel over pieces of a sample, the groups' terms from them, and
// the result. A thread stays with its channels, whose terms it keeps in registers, and walks over positions.
// Sums are of differences from the sample's first position, so that a large mean costs no digits; they are
// added in an order that the sizes alone decide.

#include <algorithm>

#include "backend/cuda/networks/typed_arrays.cuh"

namespace eg4d::cuda {

struct GroupNormGrid {
  int64_t columns = 0;  // of `vector` channels each
  int vector = 1;
  int across = 1, down = 1;                  // threads of a block: columns, positions
  int64_t tiles = 1, pieces = 1, piece = 1;  // blocks: columns; pieces of a sample, in positions

  // So many that a large GPU does them in three rounds, three on each multiprocessor at a time: blocks that
  // last longer lose less at their ends.
  static constexpr int64_t kBlocks = 1188;
  static constexpr int kMostThreads = 256;

  GroupNormGrid() = default;
  GroupNormGrid(const GroupNorm& a, bool eights) {
    vector = eights ? 8 : 1;
    columns = a.channels / vector;
    tiles = std::max<int64_t>((columns + kThreads - 1) / kThreads, 1);
    across = std::max(static_cast<int>((columns + tiles - 1) / tiles), 1);
    down = std::max(kMostThreads / across, 1);
    const int64_t most = std::max<int64_t>(kBlocks / std::max<int64_t>(a.batch * tiles, 1), 1);
    pieces = std::clamp<int64_t>(a.positions / (4 * down), 1, most);
    piece = std::max<int64_t>((a.positions + pieces - 1) / pieces, 1);
    pieces = (a.positions + piece - 1) / piece;
  }
  dim3 blocks(int64_t batch) const {
    return dim3(static_cast<unsigned>(pieces), static_cast<unsigned>(batch), static_cast<unsigned>(tiles));
  }
  dim3 threads() const { return dim3(static_cast<unsigned>(across), static_cast<unsigned>(down)); }
  // Two sums of each channel.
  size_t sums_bytes(const GroupNorm& a) const {
    return static_cast<size_t>(a.batch * pieces * a.channels) * 2 * sizeof(float);
  }
};

// Where a thread works.
struct GroupNormPlace {
  int64_t sample, channel, begin, end;  // channels from `channel` on; positions within the sample
  bool idle;
};
template <int N>
__device__ inline GroupNormPlace group_norm_place(const GroupNorm& a, const GroupNormGrid& grid,
                                                  bool backwards = false) {
  const int64_t column = static_cast<int64_t>(blockIdx.z) * grid.across + threadIdx.x;
  const int64_t sample = backwards ? gridDim.y - 1 - blockIdx.y : blockIdx.y;
  const int64_t begin = (backwards ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * grid.piece;
  return {sample, column * N, begin + threadIdx.y, min(begin + grid.piece, a.positions),
          column >= grid.columns};
}

// x + add
template <int N>
__device__ inline Values<N> group_norm_input(const GroupNorm& a, int64_t sample, int64_t position,
                                             int64_t channel) {
  const int64_t row = sample * a.positions + position;
  Values<N> x = load_values<N>(a.x, row * a.channels + channel);
  if (a.add.data) {
    const Values<N> add = load_values<N>(a.add, row / a.add_positions * a.channels + channel);
#pragma unroll
    for (int i = 0; i < N; ++i) x.v[i] += add.v[i];
  }
  return x;
}

// Adds what the block's threads of the same column hold and leaves it for this piece.
template <int N>
__device__ inline void leave_sums(const GroupNorm& a, const GroupNormGrid& grid, const GroupNormPlace& place,
                                  const Values<N>& first, const Values<N>& second, float* sums) {
  extern __shared__ float shared[];
  float* const own = shared + (threadIdx.y * grid.across + threadIdx.x) * 2 * N;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    own[i] = first.v[i];
    own[N + i] = second.v[i];
  }
  __syncthreads();
  if (threadIdx.y != 0 || place.idle) return;
  float* const to = sums + ((place.sample * grid.pieces + blockIdx.x) * a.channels + place.channel) * 2;
  for (int i = 0; i < N; ++i) {
    float s = 0, t = 0;
    for (int row = 0; row < grid.down; ++row) {
      s += shared[(row * grid.across + threadIdx.x) * 2 * N + i];
      t += shared[(row * grid.across + threadIdx.x) * 2 * N + N + i];
    }
    to[2 * i] = s;
    to[2 * i + 1] = t;
  }
}

__device__ inline double sum_of_warp(double value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}

// terms[sample][channel] = (mean, 1/deviation)
void group_norm_terms(const GroupNorm& a, const GroupNormGrid& grid, float* sums, float2* terms,
                      cudaStream_t stream);
GroupNormGrid group_norm_grid(const GroupNorm& a);

}  // namespace eg4d::cuda
