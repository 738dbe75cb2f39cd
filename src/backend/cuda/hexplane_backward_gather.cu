// The sums over derivatives: each texel of the planes without time over its pairs, each column of the planes
// with time over the tiles' partial sums, points over the levels, the box over all (hexplane_backward.cuh).

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/hexplane_backward.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = kHexPlaneThreads, kWarps = kThreads / 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ int tiles_in_use(const FieldWorkspace& w) {
  const PointOrder order = *w.order;
  return static_cast<int>((order.end - order.begin + w.points - 1) / w.points);
}

template <int W>
__device__ void add_scaled(Channels<W>& total, const Channels<W>& sum, float factor) {
#pragma unroll
  for (int k = 0; k < W; ++k) total.v[k] = fmaf(sum.v[k], factor, total.v[k]);
}

// ---------------------------------------------------------------- texels

// The sorted pairs of two neighbouring cells of a row: those of the texel's left cell, then its right one's.
struct RowList {
  uint32_t begin, middle, end;
  __device__ uint32_t size() const { return end - begin; }
  __device__ RowList of_lane(int lane) const {
    return {__shfl_sync(kAllLanes, begin, lane), __shfl_sync(kAllLanes, middle, lane),
            __shfl_sync(kAllLanes, end, lane)};
  }
};
__device__ RowList list_of(const FieldWorkspace& w, uint32_t cell, bool with_left) {
  const uint2 own = w.range[cell], left = with_left ? w.range[cell - 1] : make_uint2(0, 0);
  RowList list{own.x, own.x, own.y};
  if (left.x < left.y) {
    list.begin = left.x;
    list.middle = left.y;
    if (own.x >= own.y) list.end = left.y;
  }
  return list;
}

// Every step-th of a list; lower: of the cells above the texel, whose lower side it is on.
template <int W>
__device__ void add_list(const FieldWorkspace& w, int channels, const RowList& list, bool lower,
                         uint32_t first, uint32_t step, int channel, Channels<W>& sum) {
#pragma unroll 4
  for (uint32_t i = list.begin + first; i < list.end; i += step) {
    const float2 at = w.weights[i];
    const float weight = (i < list.middle ? at.x : 1 - at.x) * (lower ? at.y : 1 - at.y);
    const Channels<W> d = load_channels<W>(w.d_values + int64_t{i} * channels + channel);
    add_scaled(sum, d, weight);
  }
}

// A warp looks at some texels of a plane, one a lane; those that points reach are then added up, as many at a
// time as groups of lanes hold a texel's channels. Where a list is long, all groups share it.
constexpr uint32_t kLongList = 24;
struct SpacePlanes {
  struct Plane {
    int64_t offset;
    uint32_t first_cell, first_block;
    int rows, columns, together;  // texels that a warp looks at
  } of[3 * kMostLevels];
  int count;
};
template <int W>
__device__ void add_texels(const Field& field, int channels, const SpacePlanes& planes,
                           const FieldWorkspace& w, uint32_t block) {
  int number = 0;
  while (number + 1 < planes.count && block >= planes.of[number + 1].first_block) ++number;
  const SpacePlanes::Plane& p = planes.of[number];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int units = channels / W, group_lanes = 32 % units == 0 ? units : 32, groups = 32 / group_lanes,
            group = lane / group_lanes;
  const int texel = (static_cast<int>(block - p.first_block) * kWarps + warp) * p.together + lane;
  RowList upper{}, lower{};  // the rows of cells above and below the texel
  if (lane < p.together && texel < p.rows * p.columns) {
    const int row = texel / p.columns, column = texel - row * p.columns;
    const uint32_t own = p.first_cell + static_cast<uint32_t>(texel);
    lower = list_of(w, own, column > 0);
    if (row > 0) upper = list_of(w, own - static_cast<uint32_t>(p.columns), column > 0);
  }
  const uint32_t pairs = upper.size() + lower.size();
  const unsigned long_ones = __ballot_sync(kAllLanes, pairs > kLongList);
  for (unsigned left = __ballot_sync(kAllLanes, pairs > 0); left != 0;) {
    const int first = __ffs(static_cast<int>(left)) - 1;
    const bool shared = groups > 1 && (long_ones >> first & 1);
    int from = -1;  // the lane whose texel is the group's
    for (int k = 0; k < groups && left != 0; ++k) {
      const int next = __ffs(static_cast<int>(left)) - 1;
      if (k > 0 && (shared || (groups > 1 && (long_ones >> next & 1)))) break;
      if (shared || k == group) from = next;
      left &= left - 1;
    }
    const RowList above = upper.of_lane(max(from, 0)), below = lower.of_lane(max(from, 0));
    const int64_t at = p.offset + int64_t{texel - lane + from} * channels;
    for (int unit = lane % group_lanes; unit < (units + group_lanes - 1) / group_lanes * group_lanes;
         unit += group_lanes) {
      const bool works = from >= 0 && unit < units, writes = works && (!shared || group == 0);
      float* const to = field.d_grid + at + unit * W;
      Channels<W> total{}, sum{};
      if (writes) total = load_channels<W>(to);
      if (works) {
        add_list<W>(w, channels, above, true, shared ? group : 0, shared ? groups : 1, unit * W, sum);
        add_list<W>(w, channels, below, false, shared ? group : 0, shared ? groups : 1, unit * W, sum);
      }
      if (shared)
        for (int step = group_lanes; step < 32; step *= 2)
#pragma unroll
          for (int k = 0; k < W; ++k) sum.v[k] += __shfl_xor_sync(kAllLanes, sum.v[k], step);
      add_scaled(total, sum, 1);
      if (writes) store_channels(to, total);
    }
  }
}

// ---------------------------------------------------------------- columns and box

template <int W>
__device__ void add_column(const Field& field, const FieldGeometry& g, const FieldWorkspace& w, int column) {
  __shared__ Channels<W> parts[kThreads];
  int plane = 3 * g.levels - 1;
  while (column < g.level[plane / 3].time[plane % 3].first_column) --plane;
  const FieldGeometry::Level& level = g.level[plane / 3];
  const FieldGeometry::Level::Time& time = level.time[plane % 3];
  const int own = column - time.first_column, units = g.channels / W, tiles = tiles_in_use(w);
  const int2* spans = w.span + int64_t{plane} * w.tiles;
  const AxisSample row = sample_axis(*field.time, level.size[3]);
  const int64_t stride = int64_t{level.size[plane % 3]} * g.channels;
  const int slices = kThreads / units, unit = static_cast<int>(threadIdx.x) % units,
            slice = static_cast<int>(threadIdx.x) / units;
  Channels<W> sum{};
  bool any = false;
  if (slice < slices) {
#pragma unroll 4
    for (int tile = slice; tile < tiles; tile += slices) {
      const int2 span = spans[tile];
      if (own < span.x || own >= span.y) continue;
      const Channels<W> part =
          load_channels<W>(w.partial + (int64_t{tile} * g.columns + column) * g.channels + unit * W);
      add_scaled(sum, part, 1);
      any = true;
    }
  }
  parts[threadIdx.x] = sum;
  if (!__syncthreads_or(any) || slice > 0) return;
  for (int other = 1; other < slices; ++other) add_scaled(sum, parts[other * units + unit], 1);
  float* const at = field.d_grid + time.offset + row.low * stride + int64_t{own} * g.channels + unit * W;
  for (int k = 0; k < (level.size[3] > 1 ? 2 : 1); ++k) {
    Channels<W> total = load_channels<W>(at + k * stride);
    add_scaled(total, sum, k == 0 ? 1 - row.weight : row.weight);
    store_channels(at + k * stride, total);
  }
}

// One point and axis a thread.
__device__ void add_points(const Field& field, const FieldGeometry& g, const FieldWorkspace& w,
                           int64_t first) {
  const PointOrder order = *w.order;
  const int64_t i = first + threadIdx.x, place = i / 3, room = int64_t{w.tiles} * w.points;
  const int a = static_cast<int>(i % 3);
  if (place >= order.end - order.begin) return;
  float sum = 0;
  for (int level = 0; level < g.levels; ++level) sum += w.d_coordinates[(3 * level + a) * room + place];
  const int64_t point = w.item[order.begin + place] - 3 * g.levels * field.count;
  field.d_points[point * 3 + a] += static_cast<float>(sum * position_factor(field, a));
}

__device__ void add_box(const Field& field, const FieldGeometry& g, const FieldWorkspace& w, unsigned entry) {
  __shared__ double sums[kThreads];
  const int tiles = tiles_in_use(w);
  double own = 0;
  for (int level = 0; level < g.levels; ++level)
    for (int tile = static_cast<int>(threadIdx.x); tile < tiles; tile += kThreads)
      own += w.box[6 * (int64_t{level} * w.tiles + tile) + entry];
  sums[threadIdx.x] = own;
  for (unsigned step = kThreads / 2; step > 0; step /= 2) {
    __syncthreads();
    if (threadIdx.x < step) sums[threadIdx.x] += sums[threadIdx.x + step];
  }
  if (threadIdx.x == 0) field.d_box[entry] += static_cast<float>(sums[0]);
}

struct Shares {
  unsigned box, columns, points, texels;  // blocks
};
template <int W>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(Field field, const __grid_constant__ FieldGeometry g,
                  const __grid_constant__ SpacePlanes planes, FieldWorkspace w, Shares shares) {
  unsigned block = blockIdx.x;
  if (block < shares.box) return add_box(field, g, w, block);
  block -= shares.box;
  if (block < shares.columns) return add_column<W>(field, g, w, static_cast<int>(block));
  block -= shares.columns;
  if (block < shares.points) return add_points(field, g, w, int64_t{block} * kThreads);
  add_texels<W>(field, g.channels, planes, w, block - shares.points);
}

template <int W>
void launch(const Field& field, const FieldGeometry& g, const FieldWorkspace& w, cudaStream_t stream) {
  SpacePlanes planes{};
  Shares shares{field.d_box ? 6u : 0u, 0, 0, 0};
  if (field.d_points) shares.points = blocks_for(3 * field.count, kThreads);
  if (field.d_grid) shares.columns = static_cast<unsigned>(g.columns);
  const int units = g.channels / W, groups = 32 % units == 0 ? 32 / units : 1;
  for (int i = 0; field.d_grid && i < 3 * g.levels; ++i) {
    const FieldGeometry::Level& level = g.level[i / 3];
    SpacePlanes::Plane& p = planes.of[planes.count++];
    p = {level.space[i % 3].offset,        level.space[i % 3].first_cell,    shares.texels,
         level.size[space_axis(i % 3, 1)], level.size[space_axis(i % 3, 0)], groups};
    const int64_t texels = int64_t{p.rows} * p.columns;
    if (texels > field.count / 2) p.together = std::min(32, 2 * groups);  // most are not reached
    shares.texels += blocks_for(texels, p.together * kWarps);
  }
  const unsigned blocks = shares.box + shares.columns + shares.points + shares.texels;
  if (blocks > 0) gather_kernel<W><<<blocks, kThreads, 0, stream>>>(field, g, planes, w, shares);
}

}  // namespace

void hexplane_gather(const Field& field, const FieldGeometry& g, const FieldWorkspace& w,
                     cudaStream_t stream) {
  if (g.channels % 4 == 0)
    launch<4>(field, g, w, stream);
  else
    launch<1>(field, g, w, stream);
}

}  // namespace eg4d::cuda
