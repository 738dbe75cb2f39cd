// The sums over derivatives: each texel of the planes without time over its entries, each column of the
// planes with time over the tiles' partial sums, points over the levels, the box over all
// (hexplane_backward.cuh).

#include "backend/cuda/check.h"
#include "backend/cuda/hexplane_backward.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = kHexPlaneThreads, kWarps = kThreads / 32;
constexpr int kBlocks = 4;  // on a multiprocessor
constexpr unsigned kAllLanes = 0xffffffffu;

// ---------------------------------------------------------------- texels

// Entries that a block works on at a time, each thread staging some; a lane has W channels, and L lanes (a
// group) walk through their share of them.
constexpr int kOwn = 2, kStaged = kOwn * kThreads;
template <int W, int L>
struct Staged {
  static constexpr int kGroups = kThreads / L, kChannels = W * L;
  // A texel that a group has in common with others: its first entry's two texels, its last one's two.
  enum Shared { kFirst, kFirstRight, kLast, kLastRight, kShared };

  uint4 entries[kStaged];
  uint32_t counts[kWarps];
  uint32_t texels[kGroups][kShared];
  __align__(16) float sums[kGroups][kShared][kChannels];
};

// Stages those of the block's entries from `first` on that add something; returns how many these are.
template <int W, int L>
__device__ int stage(const FieldWorkspace& w, const Cut& cut, const Cut& next, uint32_t first, int64_t count,
                     Staged<W, L>& s) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  Entry entry[kOwn];
  bool works[kOwn];
  unsigned mask[kOwn];
#pragma unroll
  for (int k = 0; k < kOwn; ++k) {
    const uint32_t i = first + static_cast<uint32_t>((warp * kOwn + k) * 32 + lane);
    entry[k].row = kNoRow;
    if (i >= next.own) continue;
    const uint4 read = reinterpret_cast<const uint4*>(w.entries)[i];
    // What is not the block's: left texels of entries before its own, and the next one's first texel.
    entry[k] = {read.x, read.y, i < cut.own ? 0 : __uint_as_float(read.z),
                read.x + 1 == next.texel ? 0 : __uint_as_float(read.w)};
  }
#pragma unroll
  for (int k = 0; k < kOwn; ++k) {
    works[k] = entry[k].row != kNoRow;
    if (works[k]) {
      const uint32_t number = entry[k].row / static_cast<uint32_t>(count),
                     point = entry[k].row - number * static_cast<uint32_t>(count);
      works[k] = w.active[number / 3 * count + point];
    }
  }
  uint32_t before = 0;
#pragma unroll
  for (int k = 0; k < kOwn; ++k) {
    mask[k] = __ballot_sync(kAllLanes, works[k]);
    before += static_cast<uint32_t>(__popc(mask[k]));
  }
  if (lane == 0) s.counts[warp] = before;
  __syncthreads();
  before = 0;
  uint32_t all = 0;
#pragma unroll
  for (int other = 0; other < kWarps; ++other) {
    if (other == warp) before = all;
    all += s.counts[other];
  }
#pragma unroll
  for (int k = 0; k < kOwn; ++k) {
    if (works[k])
      s.entries[before + static_cast<uint32_t>(__popc(mask[k] & ((1u << lane) - 1)))] = make_uint4(
          entry[k].texel, entry[k].row, __float_as_uint(entry[k].left), __float_as_uint(entry[k].right));
    before += static_cast<uint32_t>(__popc(mask[k]));
  }
  __syncthreads();
  return static_cast<int>(all);
}

// One addition to memory to which nobody else adds meanwhile.
template <int W>
__device__ void add_row_alone(float* to, const Channels<W>& c) {
#if __CUDA_ARCH__ >= 900
  constexpr bool kTogether = W == 4;
#else
  constexpr bool kTogether = false;
#endif
  if constexpr (kTogether) {
    if (c.v[0] != 0 || c.v[1] != 0 || c.v[2] != 0 || c.v[3] != 0)
      atomicAdd(reinterpret_cast<float4*>(to), make_float4(c.v[0], c.v[1], c.v[2], c.v[3]));
  } else {
#pragma unroll
    for (int k = 0; k < W; ++k) add_alone(to + k, c.v[k]);
  }
}

// A group's walk. Of the texels that it meets only those of its first and of its last entry can be others'
// too.
template <int W, int L>
class Walk {
 public:
  using Shared = Staged<W, L>;
  __device__ Walk(float* grid, int channels, int channel, Shared& s)
      : grid_(grid),
        s_(s),
        channels_(channels),
        channel_(channel),
        lane_(static_cast<int>(threadIdx.x) % L),
        group_(static_cast<int>(threadIdx.x) / L) {}

  __device__ void run(const float* rows, int begin, int end) {
    if (lane_ < Shared::kShared) s_.texels[group_][lane_] = kNoRow;
    __syncwarp();
    if (begin >= end) return;
    first_ = texel_ = s_.entries[begin].x;
    const float* const from = rows + channel_;
    for (int i = begin; i < end; i += kAhead) {
      Channels<W> d[kAhead] = {};
#pragma unroll
      for (int k = 0; k < kAhead; ++k)
        if (channel_ < channels_)
          d[k] = load_channels<W>(from + int64_t{s_.entries[min(i + k, end - 1)].y} * channels_);
#pragma unroll
      for (int k = 0; k < kAhead; ++k)
        if (i + k < end) add(s_.entries[i + k], d[k]);
    }
    put_last(texel_, Shared::kLast, left_);
    put_last(texel_ + 1, Shared::kLastRight, right_);
  }

 private:
  static constexpr int kAhead = W == 4 ? 4 : 8;  // rows that a group asks for at a time

  __device__ void add(const uint4& entry, const Channels<W>& d) {
    if (entry.x != texel_) {
      put(texel_, left_);
      if (entry.x == texel_ + 1) {
        left_ = right_;
      } else {
        put(texel_ + 1, right_);
        left_ = {};
      }
      right_ = {};
      texel_ = entry.x;
    }
    const float left = __uint_as_float(entry.z), right = __uint_as_float(entry.w);
#pragma unroll
    for (int c = 0; c < W; ++c) {
      if (left != 0) left_.v[c] = fmaf(left, d.v[c], left_.v[c]);
      if (right != 0) right_.v[c] = fmaf(right, d.v[c], right_.v[c]);
    }
  }
  __device__ void share(int which, uint32_t texel, const Channels<W>& sum) {
    if (lane_ == 0) s_.texels[group_][which] = texel;
    store_channels(&s_.sums[group_][which][lane_ * W], sum);
  }
  __device__ void put(uint32_t texel, const Channels<W>& sum) {
    if (texel - first_ <= 1)
      share(static_cast<int>(texel - first_), texel, sum);
    else if (channel_ < channels_)
      add_row_alone(grid_ + int64_t{texel} * channels_ + channel_, sum);
  }
  __device__ void put_last(uint32_t texel, int which, const Channels<W>& sum) {
    share(texel - first_ <= 1 ? static_cast<int>(texel - first_) : which, texel, sum);
  }

  float* const grid_;
  Shared& s_;
  const int channels_, channel_, lane_, group_;
  uint32_t first_ = 0, texel_ = 0;  // its first left texel; the left texel now
  Channels<W> left_{}, right_{};    // sums of that and of its right neighbour
};

// Texels that groups have in common: the first of the groups adds up what they have, in their order.
template <int W, int L>
__device__ void add_shared(float* grid, int channels, int channel, const Staged<W, L>& s) {
  constexpr int kGroups = s.kGroups, kShared = s.kShared;
  const int lane = static_cast<int>(threadIdx.x) % L, group = static_cast<int>(threadIdx.x) / L;
  const auto find = [&](int of_group, uint32_t texel) {
    int found = -1;
#pragma unroll
    for (int k = 0; k < kShared; ++k)
      if (s.texels[of_group][k] == texel) found = k;
    return found;
  };
  for (int k = 0; k < kShared; ++k) {
    const uint32_t texel = s.texels[group][k];
    if (texel == kNoRow || (group > 0 && find(group - 1, texel) >= 0)) continue;
    Channels<W> sum = load_channels<W>(&s.sums[group][k][lane * W]);
    for (int other = group + 1; other < kGroups; ++other) {
      const int found = find(other, texel);
      if (found < 0) break;
      const Channels<W> more = load_channels<W>(&s.sums[other][found][lane * W]);
#pragma unroll
      for (int c = 0; c < W; ++c) sum.v[c] += more.v[c];
    }
    if (channel < channels) add_row_alone(grid + int64_t{texel} * channels + channel, sum);
  }
}

template <int W, int L>
__device__ void add_texels(const Field& field, const FieldGeometry& g, const FieldWorkspace& w,
                           uint32_t block) {
  __shared__ __align__(16) Staged<W, L> s;
  const Cut cut = w.cuts[block], next = w.cuts[block + 1];
  if (cut.own == next.own && cut.texel == next.texel) return;  // in the midst of one cell
  const int group = static_cast<int>(threadIdx.x) / L;
  for (uint32_t first = cut.read; first < next.own; first += kStaged) {
    const int count = stage(w, cut, next, first, field.count, s);
    const int share = (count + s.kGroups - 1) / s.kGroups;
    const int channels = (g.channels + s.kChannels - 1) / s.kChannels * s.kChannels;
    for (int channel = static_cast<int>(threadIdx.x) % L * W; channel < channels && count > 0;
         channel += s.kChannels) {
      Walk<W, L>(field.d_grid, g.channels, channel, s)
          .run(w.d_values, min(group * share, count), min((group + 1) * share, count));
      __syncthreads();
      add_shared(field.d_grid, g.channels, channel, s);
      __syncthreads();
    }
  }
}

// ---------------------------------------------------------------- columns

// A warp looks at 32 tiles at a time; a lane has one channel.
__device__ void add_column(const Field& field, const FieldGeometry& g, const FieldWorkspace& w, int column) {
  __shared__ float sums[kWarps][32];
  constexpr int kTogether = 4;
  int plane = 3 * g.levels - 1;
  while (column < g.level[plane / 3].time[plane % 3].first_column) --plane;
  const FieldGeometry::Level& level = g.level[plane / 3];
  const FieldGeometry::Level::Time& time = level.time[plane % 3];
  const int own = column - time.first_column, lane = static_cast<int>(threadIdx.x) % 32,
            warp = static_cast<int>(threadIdx.x) / 32;
  const int2* const spans = w.span + int64_t{plane} * w.tiles;
  const AxisSample row = sample_axis(*field.time, level.size[3]);
  const int64_t stride = int64_t{level.size[plane % 3]} * g.channels;
  for (int channel = lane; channel < (g.channels + 31) / 32 * 32; channel += 32) {
    const bool mine = channel < g.channels;
    const float* const from = w.partial + int64_t{column} * g.channels + channel;
    float sum = 0;
    for (int first = warp * 32; first < w.tiles; first += kThreads) {
      const int2 span = first + lane < w.tiles ? spans[first + lane] : make_int2(0, 0);
      unsigned left = __ballot_sync(kAllLanes, own >= span.x && own < span.y);
      while (left != 0) {
        float part[kTogether];
#pragma unroll
        for (int k = 0; k < kTogether; ++k) {
          const int tile = first + __ffs(static_cast<int>(left)) - 1;
          part[k] = left != 0 && mine ? from[int64_t{tile} * g.columns * g.channels] : 0;
          left &= left - 1;
        }
#pragma unroll
        for (int k = 0; k < kTogether; ++k) sum += part[k];
      }
    }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp == 0) {
      for (int other = 1; other < kWarps; ++other) sum += sums[other][lane];
      float* const at = field.d_grid + time.offset + row.low * stride + int64_t{own} * g.channels + channel;
      if (mine) add_alone(at, sum * (1 - row.weight));
      if (mine && level.size[3] > 1) add_alone(at + stride, sum * row.weight);
    }
    __syncthreads();
  }
}

// ---------------------------------------------------------------- points and box

__device__ double sum_of_warp(double value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(kAllLanes, value, step);
  return value;
}

// One point a thread. The box: with u = (p - box[0])·f - 1, f = 2/(box[1]-box[0]): du/dp = f,
// du/dbox[0] = -f + (p-box[0])·f²/2, du/dbox[1] = -(p-box[0])·f²/2. The last block adds up what all have.
__device__ void add_points(const Field& field, const FieldGeometry& g, const FieldWorkspace& w,
                           unsigned block, unsigned blocks) {
  __shared__ double sums[kWarps][6];
  __shared__ bool last;
  const int64_t point = int64_t{block} * kThreads + threadIdx.x;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  float sum[3] = {};
  if (point < field.count) {
#pragma unroll 4
    for (int level = 0; level < g.levels; ++level) {
      const int64_t row = level * field.count + point;
      if (!w.active[row]) continue;
      for (int a = 0; a < 3; ++a) sum[a] += w.d_coordinates[3 * row + a];
    }
  }
  double of_box[6] = {};
  for (int a = 0; a < 3 && point < field.count; ++a) {
    if (sum[a] == 0) continue;
    const double f = position_factor(field, a);
    if (field.d_points) field.d_points[point * 3 + a] += static_cast<float>(sum[a] * f);
    const double across = (field.points[point * 3 + a] - static_cast<double>(field.box[a])) * f * f / 2;
    of_box[a] = sum[a] * (across - f);
    of_box[3 + a] = sum[a] * -across;
  }
  if (!field.d_box) return;
  for (int entry = 0; entry < 6; ++entry) {
    const double all = sum_of_warp(of_box[entry]);
    if (lane == 0) sums[warp][entry] = all;
  }
  __syncthreads();
  if (threadIdx.x < 6) {
    double all = 0;
    for (int other = 0; other < kWarps; ++other) all += sums[other][threadIdx.x];
    w.box[6 * int64_t{block} + threadIdx.x] = all;
    __threadfence();
  }
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(w.finished, 1u) + 1 == blocks;
  __syncthreads();
  if (!last || warp >= 6) return;
  __threadfence();
  double all = 0;
  for (unsigned other = static_cast<unsigned>(lane); other < blocks; other += 32)
    all += __ldcg(w.box + 6 * int64_t{other} + warp);
  all = sum_of_warp(all);
  if (lane == 0) field.d_box[warp] += static_cast<float>(all);
}

struct Shares {
  unsigned columns, points, texels;  // blocks
};
template <int W, int L>
__global__ void __launch_bounds__(kThreads, kBlocks)
    gather_kernel(Field field, const __grid_constant__ FieldGeometry g, FieldWorkspace w, Shares shares) {
  unsigned block = blockIdx.x;
  if (block < shares.points) return add_points(field, g, w, block, shares.points);
  block -= shares.points;
  if (block < shares.texels) return add_texels<W, L>(field, g, w, block);
  add_column(field, g, w, static_cast<int>(block - shares.texels));
}

}  // namespace

void hexplane_gather(const Field& field, const FieldGeometry& g, const FieldWorkspace& w,
                     cudaStream_t stream) {
  Shares shares{};
  if (field.d_box || field.d_points) shares.points = blocks_for(field.count, kThreads);
  if (field.d_grid) {
    shares.columns = static_cast<unsigned>(g.columns);
    shares.texels = w.cut_count;
  }
  const unsigned blocks = shares.columns + shares.points + shares.texels;
  if (blocks == 0) return;
  const auto kernel = g.channels % 4 != 0 ? gather_kernel<1, 32>
                      : g.channels > 16   ? gather_kernel<4, 8>
                                          : gather_kernel<4, 4>;
  kernel<<<blocks, kThreads, 0, stream>>>(field, g, w, shares);
}

}  // namespace eg4d::cuda
