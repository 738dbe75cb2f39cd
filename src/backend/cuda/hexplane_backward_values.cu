// The hexplane's derivatives, tile by tile (hexplane_backward.cuh). A block goes through the levels: all
// units of its tile write their derivatives, those of planes without time to their places in memory, the
// others to shared memory, where they are then added up column by column in the order of the points'
// coordinates, which is the same on all levels.

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/hexplane_backward.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = kHexPlaneThreads;
constexpr int kBlocks = 3;  // on a multiprocessor: what the shared memory allows

// A block's shared memory; P points.
struct Tile {
  float* rows;           // [3, P, channels] derivatives of the planes with time
  float* sums;           // [3, units of all points] with respect to coordinates
  AxisSample* samples;   // [3, P] on the level
  float* coordinates;    // [3, P]
  float* d_coordinates;  // [3, P]
  uint32_t* point;       // [P] its number
  uint16_t* order;       // [3, P] of coordinates along an axis
  uint16_t* first;       // [3, columns + 1] where in that order the points of the k-th cell begin
  int count, points;     // in use; P

  __device__ int cell(int axis, int k) const { return samples[axis * points + order[axis * points + k]].low; }
  // The cells on the level are those from the first point's to the last's.
  __device__ int least(int axis) const { return cell(axis, 0); }
  __device__ int cells(int axis) const { return cell(axis, count - 1) - cell(axis, 0) + 1; }

  static __host__ __device__ int columns_of(const FieldGeometry& g) {
    int most = 0;
    for (int l = 0; l < g.levels; ++l)
      for (int a = 0; a < 3; ++a) most = most > g.level[l].size[a] ? most : g.level[l].size[a];
    return (most + 2) / 2 * 2;
  }
  // Without memory only tells how much it takes.
  __host__ __device__ size_t lay_out(const FieldGeometry& g, int points, int units, char* memory) {
    size_t used = 0;
    const auto take = [&](auto*& piece, int items) {
      piece = reinterpret_cast<std::remove_reference_t<decltype(piece)>>(memory + used);
      used += static_cast<size_t>(items) * sizeof(*piece);
    };
    take(rows, 3 * points * g.channels);
    take(sums, 3 * points * units);
    take(samples, 3 * points);
    take(coordinates, 3 * points);
    take(d_coordinates, 3 * points);
    take(point, points);
    take(order, 3 * points + points % 2);
    take(first, 3 * columns_of(g));
    return used;
  }
};

// Calls body(axis, i) for all points and axes of the tile.
template <class Body>
__device__ void for_each_axis(int count, const Body& body) {
  for (int i = static_cast<int>(threadIdx.x); i < 3 * count; i += kThreads) body(i / count, i % count);
}

// Where the points are, and their order along each axis.
__device__ void load_points(const Field& field, const uint32_t* items, uint32_t none, const Tile& t) {
  for (int i = static_cast<int>(threadIdx.x); i < t.count; i += kThreads) {
    t.point[i] = items[i] - none;
    const Coordinates c = coordinates_of(field, t.point[i]);
    for (int a = 0; a < 3; ++a) {
      t.coordinates[a * t.points + i] = c.value[a] == c.value[a] ? c.value[a] : -INFINITY;  // NaN: a corner
    }
  }
  __syncthreads();
  for_each_axis(t.count, [&](int a, int i) {
    const float* all = t.coordinates + a * t.points;
    const float own = all[i];
    int rank = 0;
#pragma unroll 4
    for (int other = 0; other < t.count; ++other)
      rank += all[other] < own || (all[other] == own && other < i);
    t.order[a * t.points + rank] = static_cast<uint16_t>(i);
  });
  __syncthreads();
}

__device__ void sample_level(const FieldGeometry::Level& level, const Tile& t) {
  for_each_axis(t.count, [&](int a, int i) {
    t.samples[a * t.points + i] = sample_axis(t.coordinates[a * t.points + i], level.size[a]);
  });
  __syncthreads();
}

// After sample_level.
__device__ void find_cells(int columns, const Tile& t) {
  for_each_axis(t.count, [&](int a, int k) {
    uint16_t* first = t.first + a * columns;
    const int least = t.least(a), own = t.cell(a, k) - least;
    for (int c = k == 0 ? 0 : t.cell(a, k - 1) - least + 1; c <= own; ++c)
      first[c] = static_cast<uint16_t>(k);
    if (k + 1 == t.count) first[own + 1] = static_cast<uint16_t>(t.count);
  });
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
// planes' values.
template <int W>
__device__ void differentiate(const Field& field, const FieldGeometry& g, const FieldWorkspace& w,
                              const Tile& t, int number, int i, int channel, float (&sums)[3]) {
  const FieldGeometry::Level& level = g.level[number];
  const int64_t row = int64_t{t.point[i]} * g.levels + number;
  const AxisSample s[3] = {t.samples[i], t.samples[t.points + i], t.samples[2 * t.points + i]};
  uint32_t place[3] = {};
  if (field.d_grid)
#pragma unroll
    for (int k = 0; k < 3; ++k) place[k] = w.place[3 * row + k];
  const Channels<W> d_feature = load_channels<W>(field.d_features + row * g.channels + channel);
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
  float along[3] = {};
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
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    sums[k] = along[k] * s[k].slope;
    store_channels(t.rows + (k * t.points + i) * g.channels + channel, d_time[k]);
    if (!field.d_grid) continue;
    store_channels(w.d_values + int64_t{place[k]} * g.channels + channel, d_space[k]);
    if (channel == 0)
      w.weights[place[k]] = make_float2(s[space_axis(k, 0)].weight, s[space_axis(k, 1)].weight);
  }
}

// The tile's part of the gradient of each column that it touches.
template <int W>
__device__ void add_columns(const FieldGeometry& g, const FieldWorkspace& w, const Tile& t, int number,
                            int columns, int units) {
  const FieldGeometry::Level& level = g.level[number];
  const int tile = static_cast<int>(blockIdx.x);
  // Those of the cells are touched, and the one behind them.
  const auto texels = [&](int a) { return min(t.cells(a) + 1, level.size[a] - t.least(a)); };
  if (threadIdx.x < 3) {
    const int a = static_cast<int>(threadIdx.x);
    w.span[(3 * number + a) * w.tiles + tile] = make_int2(t.least(a), t.least(a) + texels(a));
  }
  float* const out = w.partial + int64_t{tile} * g.columns * g.channels;
  const int end_x = texels(0), end_y = end_x + texels(1), end_z = end_y + texels(2);
  for (int task = static_cast<int>(threadIdx.x); task < end_z * units; task += kThreads) {
    const int texel = task / units, channel = task % units * W;
    const int a = texel < end_x ? 0 : texel < end_y ? 1 : 2;
    const int k = texel - (a == 0 ? 0 : a == 1 ? end_x : end_y), cells = t.cells(a);
    const uint16_t *first = t.first + a * columns, *order = t.order + a * t.points;
    const int begin = first[max(k - 1, 0)], middle = first[min(k, cells)], end = first[min(k + 1, cells)];
    Channels<W> sum{};
    for (int j = begin; j < end; ++j) {
      const int i = order[j];
      const float x = t.samples[a * t.points + i].weight, weight = j < middle ? x : 1 - x;
      const Channels<W> d = load_channels<W>(t.rows + (a * t.points + i) * g.channels + channel);
#pragma unroll
      for (int c = 0; c < W; ++c) sum.v[c] = fmaf(d.v[c], weight, sum.v[c]);
    }
    store_channels(out + (level.time[a].first_column + t.least(a) + k) * g.channels + channel, sum);
  }
}

// Sums over the units; and with u = (p - box[0])·f - 1, f = 2/(box[1]-box[0]): du/dp = f,
// du/dbox[0] = -f + (p-box[0])·f²/2, du/dbox[1] = -(p-box[0])·f²/2.
__device__ void add_coordinates(const Field& field, const FieldWorkspace& w, const Tile& t, int level,
                                int units) {
  const int tile = static_cast<int>(blockIdx.x);
  float* const out = w.d_coordinates + (int64_t{3} * level * w.tiles + tile) * w.points;
  for_each_axis(t.count, [&](int a, int i) {
    float sum = 0;
    for (int u = 0; u < units; ++u) sum += t.sums[(a * t.points + i) * units + u];
    t.d_coordinates[a * t.points + i] = sum;
    out[int64_t{a} * w.tiles * w.points + i] = sum;
  });
  if (!field.d_box) return;
  __syncthreads();
  const int entry = static_cast<int>(threadIdx.x), a = entry % 3;
  if (entry >= 6) return;
  const double low = field.box[a], f = position_factor(field, a);
  double sum = 0;
  for (int i = 0; i < t.count; ++i) {
    const double across = (field.points[int64_t{t.point[i]} * 3 + a] - low) * f * f / 2;
    sum += t.d_coordinates[a * t.points + i] * (entry < 3 ? across - f : -across);
  }
  w.box[6 * (int64_t{level} * w.tiles + tile) + entry] = sum;
}

// kUnits: of a point; 0 where that is not known before.
template <int W, int kUnits>
__global__ void __launch_bounds__(kThreads, kBlocks)
    values_kernel(Field field, const __grid_constant__ FieldGeometry g, FieldWorkspace w) {
  extern __shared__ __align__(16) char memory[];
  const PointOrder order = *w.order;
  const int64_t begin = int64_t{order.begin} + int64_t{blockIdx.x} * w.points;
  if (begin >= order.end) return;
  const int units = kUnits > 0 ? kUnits : g.channels / W, columns = Tile::columns_of(g);
  const int level = static_cast<int>(blockIdx.y);
  Tile t;
  t.lay_out(g, w.points, units, memory);
  t.points = w.points;
  t.count = static_cast<int>(min(int64_t{w.points}, order.end - begin));
  load_points(field, w.item + begin, static_cast<uint32_t>(3 * g.levels * field.count), t);
  sample_level(g.level[level], t);
  find_cells(columns, t);
  for (int unit = static_cast<int>(threadIdx.x); unit < t.count * units; unit += kThreads) {
    float sums[3];
    differentiate<W>(field, g, w, t, level, unit / units, unit % units * W, sums);
    for (int a = 0; a < 3; ++a) t.sums[a * t.points * units + unit] = sums[a];
  }
  __syncthreads();
  if (field.d_grid) add_columns<W>(g, w, t, level, columns, units);
  add_coordinates(field, w, t, level, units);
}

template <int W, int kUnits>
void launch(const Field& field, const FieldGeometry& g, const FieldWorkspace& w, cudaStream_t stream) {
  Tile t;
  const size_t bytes = t.lay_out(g, w.points, g.channels / W, nullptr);
  check(cudaFuncSetAttribute(values_kernel<W, kUnits>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(bytes)),
        "asking for shared memory");
  const dim3 grid(static_cast<unsigned>(w.tiles), static_cast<unsigned>(g.levels));
  values_kernel<W, kUnits><<<grid, kThreads, bytes, stream>>>(field, g, w);
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
