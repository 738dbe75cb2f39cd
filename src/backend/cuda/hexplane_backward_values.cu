// The hexplane's derivatives, tile by tile (hexplane_backward.cuh). A block takes a tile on one level: all
// units of its active points write their derivatives, those of planes without time to memory, the others to
// shared memory, where they are then added up column by column, in the order of the points' coordinates.

#include "backend/cuda/check.h"
#include "backend/cuda/hexplane_backward.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = kHexPlaneThreads;
constexpr int kBlocks = 3;  // on a multiprocessor
constexpr unsigned kAllLanes = 0xffffffffu;

// A block's shared memory; P points, as many as room for a tile's. "Ranked": in the order of coordinates
// along the axis.
struct Tile {
  float* rows;  // [3, P, channels] ranked: derivatives of the planes with time
  float* sums;  // [3, units of all points] with respect to coordinates, where lanes do not add them up
  AxisSample* samples;  // [3, P] on the level
  float* weights;       // [3, P] ranked
  uint32_t* point;      // [P] its number
  uint16_t* cells;      // [3, P] ranked
  uint16_t* first;      // [3, columns] the rank at which the points of the k-th cell begin
  uint8_t* ranks;       // [3, P]
  uint8_t* active;      // [P] whether it has derivatives on the level
  uint8_t* list;        // [P] those that have
  int count, points;    // in use; P

  // The cells on the level are those from the first point's to the last's.
  __device__ int least(int axis) const { return cells[axis * points]; }
  __device__ int cell_count(int axis) const {
    return cells[axis * points + count - 1] - cells[axis * points] + 1;
  }

  static __host__ __device__ int columns_of(const FieldGeometry& g) {
    int most = 0;
    for (int l = 0; l < g.levels; ++l)
      for (int a = 0; a < 3; ++a) most = most > g.level[l].size[a] ? most : g.level[l].size[a];
    return most + 1;
  }
  // Without memory only tells how much it takes.
  __host__ __device__ size_t lay_out(const FieldGeometry& g, int of_points, int summed_units, char* memory) {
    size_t used = 0;
    points = of_points;
    const auto take = [&](auto*& piece, int items) {
      piece = reinterpret_cast<std::remove_reference_t<decltype(piece)>>(memory + used);
      used += (static_cast<size_t>(items) * sizeof(*piece) + 3) / 4 * 4;
    };
    take(rows, 3 * points * g.channels);
    take(sums, 3 * points * summed_units);
    take(samples, 3 * points);
    take(weights, 3 * points);
    take(point, points);
    take(cells, 3 * points);
    take(first, 3 * columns_of(g));
    take(ranks, 3 * points);
    take(active, points);
    take(list, points);
    return used;
  }
};

// Calls body(axis, i) for all points and axes of the tile.
template <class Body>
__device__ void for_each_axis(int count, const Body& body) {
  for (int i = static_cast<int>(threadIdx.x); i < 3 * count; i += kThreads) body(i / count, i % count);
}

template <int W>
__device__ bool any_of(const Channels<W>& d) {
  bool any = false;
#pragma unroll
  for (int c = 0; c < W; ++c) any |= d.v[c] != 0;  // NaN is one
  return any;
}

// The points' numbers, and which have derivatives on the level; first: of the tile. With kUnits all reads are
// under way before the first is needed.
template <int W, int kUnits>
__device__ void load_active(const Field& field, const FieldGeometry& g, const FieldWorkspace& w, int level,
                            int64_t first, const Tile& t) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const float* const d_features = field.d_features + int64_t{level} * g.channels;
  const int64_t stride = int64_t{g.levels} * g.channels;
  if constexpr (kUnits > 0) {
    constexpr int kTogether = 32 / kUnits, kAhead = kMostTilePoints / (kThreads / 32) / kTogether;
    const auto at = [&](int k) { return (warp * kAhead + k) * kTogether + lane / kUnits; };
    uint32_t point[kAhead] = {};
    Channels<W> d[kAhead] = {};
#pragma unroll
    for (int k = 0; k < kAhead; ++k)
      if (at(k) < t.count) point[k] = w.point(first + at(k));
#pragma unroll
    for (int k = 0; k < kAhead; ++k)
      if (at(k) < t.count) d[k] = load_channels<W>(d_features + point[k] * stride + lane % kUnits * W);
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const unsigned any = __ballot_sync(kAllLanes, any_of(d[k]));
      if (lane % kUnits != 0 || at(k) >= t.count) continue;
      t.active[at(k)] = (any >> lane & ((1u << kUnits) - 1)) != 0;
      t.point[at(k)] = point[k];
    }
  } else {
    for (int i = warp; i < t.count; i += kThreads / 32) {
      const uint32_t point = w.point(first + i);
      bool any = false;
      for (int channel = lane * W; channel < g.channels; channel += 32 * W)
        any |= any_of(load_channels<W>(d_features + point * stride + channel));
      any = __any_sync(kAllLanes, any);
      if (lane == 0) t.active[i] = any;
      if (lane == 0) t.point[i] = point;
    }
  }
}

// Where the points are on the level, and which have derivatives.
template <int W, int kUnits>
__device__ void load_points(const Field& field, const FieldGeometry& g, const FieldWorkspace& w, int level,
                            const Tile& t) {
  const int thread = static_cast<int>(threadIdx.x), axis = thread / t.count, of_axis = thread % t.count;
  const int64_t first = int64_t{blockIdx.x} * w.points, from = axis * w.room() + first + of_axis;
  int rank = 0;
  float coordinate = 0;
  if (axis < 3) {
    rank = w.ranks[from];
    coordinate = w.coordinates[from];
  }
  load_active<W, kUnits>(field, g, w, level, first, t);
  if (axis < 3) {
    const AxisSample sample = sample_axis(coordinate, g.level[level].size[axis]);
    t.samples[axis * t.points + of_axis] = sample;
    t.ranks[axis * t.points + of_axis] = static_cast<uint8_t>(rank);
    t.cells[axis * t.points + rank] = static_cast<uint16_t>(sample.low);
    t.weights[axis * t.points + rank] = sample.weight;
  }
  __syncthreads();
}
static_assert(3 * kMostTilePoints <= kThreads);

// After load_points: the cells' ranks, the list of active points, zeros in the rows of the others. Returns
// how many are active.
template <int W>
__device__ int arrange(const FieldGeometry& g, const FieldWorkspace& w, int64_t flags, int columns, int units,
                       const Tile& t) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int active = 0;
  for (int base = 0; base < t.count; base += 32) {
    const bool own = base + lane < t.count && t.active[base + lane];
    const unsigned all = __ballot_sync(kAllLanes, own);
    if (own && threadIdx.x < 32)
      t.list[active + __popc(all & ((1u << lane) - 1))] = static_cast<uint8_t>(base + lane);
    active += __popc(all);
  }
  for (int i = static_cast<int>(threadIdx.x); i < t.count; i += kThreads)
    w.active[flags + t.point[i]] = t.active[i];
  if (active == 0) return 0;
  for_each_axis(t.count, [&](int a, int k) {
    uint16_t* const first = t.first + a * columns;
    const uint16_t* const cells = t.cells + a * t.points;
    const int least = cells[0], own = cells[k] - least;
    for (int c = k == 0 ? 0 : cells[k - 1] - least + 1; c <= own; ++c) first[c] = static_cast<uint16_t>(k);
    if (k + 1 == t.count) first[own + 1] = static_cast<uint16_t>(t.count);
  });
  if (active == t.count) return active;
  for (int unit = static_cast<int>(threadIdx.x); unit < t.count * units; unit += kThreads) {
    const int i = unit / units, channel = unit % units * W;
    if (t.active[i]) continue;
#pragma unroll
    for (int a = 0; a < 3; ++a)
      store_channels(t.rows + (a * t.points + t.ranks[a * t.points + i]) * g.channels + channel,
                     Channels<W>{});
  }
  return active;
}

// Interpolated value and its derivatives along columns and rows, in texels.
template <int W>
struct Interpolated {
  float value[W], x[W], y[W];
};
template <int W>
__device__ Interpolated<W> interpolate_plane(const float* at, int right, int down, float x, float y) {
  const Channels<W> ul = load_channels<W>(at), ur = load_channels<W>(at + right),
                    ll = load_channels<W>(at + down), lr = load_channels<W>(at + down + right);
  Interpolated<W> p;
#pragma unroll
  for (int k = 0; k < W; ++k) {
    const float top_slope = ur.v[k] - ul.v[k], bottom_slope = lr.v[k] - ll.v[k];
    const float top = fmaf(x, top_slope, ul.v[k]);
    p.y[k] = fmaf(x, bottom_slope, ll.v[k]) - top;
    p.value[k] = fmaf(y, p.y[k], top);
    p.x[k] = fmaf(y, bottom_slope - top_slope, top_slope);
  }
  return p;
}
template <int W>
__device__ Interpolated<W> interpolate_column(const float* at, int right, float x) {
  const Channels<W> left = load_channels<W>(at), next = load_channels<W>(at + right);
  Interpolated<W> p;
#pragma unroll
  for (int k = 0; k < W; ++k) {
    p.x[k] = next.v[k] - left.v[k];
    p.value[k] = fmaf(x, p.x[k], left.v[k]);
  }
  return p;
}

// One unit on one level: the derivative with respect to each plane's value is d_feature times the other
// planes' values. `along`: with respect to coordinates.
template <int W>
__device__ void differentiate(const Field& field, const FieldGeometry& g, const FieldWorkspace& w,
                              const Tile& t, int number, int i, int channel, float (&along)[3]) {
  const FieldGeometry::Level& level = g.level[number];
  const uint32_t point = t.point[i];
  const AxisSample s[3] = {t.samples[i], t.samples[t.points + i], t.samples[2 * t.points + i]};
  const Channels<W> d_feature =
      load_channels<W>(field.d_features + (int64_t{point} * g.levels + number) * g.channels + channel);
  Interpolated<W> space[3], time[3];
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    const int across = space_axis(k, 0), down = space_axis(k, 1), columns = level.size[across];
    const float* at = field.grid + level.space[k].offset +
                      (int64_t{s[down].low} * columns + s[across].low) * g.channels + channel;
    space[k] = interpolate_plane<W>(at, columns > 1 ? g.channels : 0,
                                    level.size[down] > 1 ? columns * g.channels : 0, s[across].weight,
                                    s[down].weight);
    time[k] =
        interpolate_column<W>(w.time_rows + (level.time[k].first_column + s[k].low) * g.channels + channel,
                              level.size[k] > 1 ? g.channels : 0, s[k].weight);
  }
  Channels<W> d_space[3], d_time[3];
#pragma unroll
  for (int c = 0; c < W; ++c) {
    const auto s_value = [&](int k) { return space[k].value[c]; };
    const auto t_value = [&](int k) { return time[k].value[c]; };
    const float d_all_space = d_feature.v[c] * (t_value(0) * t_value(1) * t_value(2));
    const float d_all_time = d_feature.v[c] * (s_value(0) * s_value(1) * s_value(2));
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      const int one = k == 0 ? 1 : 0, two = k == 2 ? 1 : 2;
      d_space[k].v[c] = d_all_space * (s_value(one) * s_value(two));
      d_time[k].v[c] = d_all_time * (t_value(one) * t_value(two));
      along[k] = fmaf(d_time[k].v[c], time[k].x[c], along[k]);
      along[space_axis(k, 0)] = fmaf(d_space[k].v[c], space[k].x[c], along[space_axis(k, 0)]);
      along[space_axis(k, 1)] = fmaf(d_space[k].v[c], space[k].y[c], along[space_axis(k, 1)]);
    }
  }
  if (!field.d_grid) return;
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    store_channels(t.rows + (k * t.points + t.ranks[k * t.points + i]) * g.channels + channel, d_time[k]);
    store_channels(w.d_values + ((3 * number + k) * field.count + point) * g.channels + channel, d_space[k]);
  }
}

// The tile's part of the gradient of each column that it touches.
template <int W>
__device__ void add_columns(const FieldGeometry& g, const FieldWorkspace& w, const Tile& t, int number,
                            int columns, int units) {
  const FieldGeometry::Level& level = g.level[number];
  const int64_t tile = blockIdx.x;
  // Those of the cells are touched, and the one behind them.
  const auto texels = [&](int a) { return min(t.cell_count(a) + 1, level.size[a] - t.least(a)); };
  if (threadIdx.x < 3) {
    const int a = static_cast<int>(threadIdx.x);
    w.span[(3 * number + a) * w.tiles + tile] = make_int2(t.least(a), t.least(a) + texels(a));
  }
  float* const out = w.partial + tile * g.columns * g.channels;
  const int end_x = texels(0), end_y = end_x + texels(1), end_z = end_y + texels(2);
  for (int task = static_cast<int>(threadIdx.x); task < end_z * units; task += kThreads) {
    const int texel = task / units, channel = task % units * W;
    const int a = texel < end_x ? 0 : texel < end_y ? 1 : 2;
    const int k = texel - (a == 0 ? 0 : a == 1 ? end_x : end_y), cells = t.cell_count(a);
    const uint16_t* const first = t.first + a * columns;
    const int begin = first[max(k - 1, 0)], middle = first[min(k, cells)], end = first[min(k + 1, cells)];
    const float *const weights = t.weights + a * t.points, *const rows =
                                                               t.rows + a * t.points * g.channels + channel;
    Channels<W> sum{};
#pragma unroll 4
    for (int j = begin; j < end; ++j) {
      const float weight = j < middle ? weights[j] : 1 - weights[j];
      const Channels<W> d = load_channels<W>(rows + j * g.channels);
#pragma unroll
      for (int c = 0; c < W; ++c) sum.v[c] = fmaf(d.v[c], weight, sum.v[c]);
    }
    store_channels(out + int64_t{level.time[a].first_column + t.least(a) + k} * g.channels + channel, sum);
  }
}

// kUnits: of a point, a divisor of 32; 0 where that is not known before.
template <int W, int kUnits>
__global__ void __launch_bounds__(kThreads, kBlocks)
    values_kernel(Field field, const __grid_constant__ FieldGeometry g, FieldWorkspace w) {
  extern __shared__ __align__(16) char memory[];
  const int units = kUnits > 0 ? kUnits : g.channels / W, columns = Tile::columns_of(g);
  const int level = static_cast<int>(blockIdx.y);
  Tile t;
  t.lay_out(g, w.points, kUnits > 0 ? 0 : units, memory);
  t.count = static_cast<int>(min(int64_t{w.points}, field.count - int64_t{blockIdx.x} * w.points));
  load_points<W, kUnits>(field, g, w, level, t);
  const int active = arrange<W>(g, w, level * field.count, columns, units, t);
  if (active == 0) {
    if (threadIdx.x < 3) w.span[(3 * level + threadIdx.x) * w.tiles + blockIdx.x] = make_int2(0, 0);
    return;
  }
  __syncthreads();
  // Of a warp all lanes or none go around, because lanes of one point add up what they have.
  for (int base = static_cast<int>(threadIdx.x) / 32 * 32; base < active * units; base += kThreads) {
    const int unit = base + static_cast<int>(threadIdx.x) % 32, lane_unit = unit % units;
    const bool works = unit < active * units;
    const int i = works ? t.list[unit / units] : 0;
    float along[3] = {};
    if (works) differentiate<W>(field, g, w, t, level, i, lane_unit * W, along);
    if constexpr (kUnits > 0) {
#pragma unroll
      for (int a = 0; a < 3; ++a) {
#pragma unroll
        for (int step = 1; step < kUnits; step *= 2) along[a] += __shfl_xor_sync(kAllLanes, along[a], step);
        if (works && lane_unit == a % kUnits)
          w.d_coordinates[(level * field.count + t.point[i]) * 3 + a] =
              along[a] * t.samples[a * t.points + i].slope;
      }
    } else if (works) {
      for (int a = 0; a < 3; ++a) t.sums[(a * t.points + i) * units + lane_unit] = along[a];
    }
  }
  __syncthreads();
  if (field.d_grid) add_columns<W>(g, w, t, level, columns, units);
  if constexpr (kUnits == 0) {
    for_each_axis(active, [&](int a, int k) {
      const int i = t.list[k];
      float sum = 0;
      for (int u = 0; u < units; ++u) sum += t.sums[(a * t.points + i) * units + u];
      w.d_coordinates[(level * field.count + t.point[i]) * 3 + a] = sum * t.samples[a * t.points + i].slope;
    });
  }
}

template <int W, int kUnits>
void launch(const Field& field, const FieldGeometry& g, const FieldWorkspace& w, cudaStream_t stream) {
  Tile t;
  const size_t bytes = t.lay_out(g, w.points, kUnits > 0 ? 0 : g.channels / W, nullptr);
  const auto kernel = values_kernel<W, kUnits>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "asking for shared memory");
  const dim3 grid(static_cast<unsigned>(w.tiles), static_cast<unsigned>(g.levels));
  kernel<<<grid, kThreads, bytes, stream>>>(field, g, w);
}

}  // namespace

void hexplane_values(const Field& field, const FieldGeometry& g, const FieldWorkspace& w,
                     cudaStream_t stream) {
  if (g.channels == 32)
    launch<4, 8>(field, g, w, stream);
  else if (g.channels == 16)
    launch<4, 4>(field, g, w, stream);
  else if (g.channels % 4 == 0)
    launch<4, 0>(field, g, w, stream);
  else
    launch<1, 0>(field, g, w, stream);
}

}  // namespace eg4d::cuda
