// The (plane, point) pairs are sorted by the cell of the plane in which the point lies. Then, for all points:
// the derivatives with respect to the interpolated value of every plane, written in that order, and to the
// coordinates. Then each texel adds up those of the four cells around it, in their order: no atomics, the
// same bits from run to run, and every derivative is written once. All points have one time, so a plane
// with time is met in two rows only, by hundreds of points a texel: there a whole block adds up a column.

#include <algorithm>
#include <bit>
#include <cub/device/device_radix_sort.cuh>

#include "backend/cuda/check.h"
#include "backend/cuda/hexplane.cuh"
#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {
namespace {

// What the kernels leave for each other; pair = (6·level + plane)·N + point.
struct Workspace {
  float* d_values;                // [pairs, channels], sorted
  float2* weights;                // [pairs] along columns and rows, sorted
  uint8_t* active;                // [N] whether a feature has a derivative
  uint32_t *cell, *cell_sorted;   // [pairs]
  uint32_t *pair_scratch, *pair;  // [pairs]
  uint32_t* place;                // [pairs] of a pair in the order of the cells
  uint2* range;                   // [cells] begin and end in the sorted pairs
  double* box;                    // [blocks, 6]
  void* temporary;
  size_t temporary_bytes;
};

// One backward pass, for kernels.
struct Field : HexPlane {
  explicit Field(const HexPlaneBackward& b)
      : HexPlane(b.forward),
        d_features(b.d_features),
        d_grid(b.d_grid),
        d_box(b.d_box),
        d_points(b.d_points) {}
  const float* d_features;
  float *d_grid, *d_box, *d_points;
};

int64_t pairs_of(const HexPlaneLayout& layout, int64_t count) {
  return static_cast<int64_t>(layout.planes.size()) * count;
}
unsigned blocks_of(const HexPlaneGeometry& g, int64_t count) {
  return blocks_for(count, HexPlaneBlock(g, g.channels % 4 == 0 ? 4 : 1).points);
}

cudaError_t sort(const Workspace& w, size_t& bytes, int64_t pairs, int bits, cudaStream_t stream) {
  return cub::DeviceRadixSort::SortPairs(w.temporary, bytes, w.cell, w.cell_sorted, w.pair_scratch, w.pair,
                                         static_cast<int>(pairs), 0, bits, stream);
}

size_t lay_out(const HexPlaneLayout& layout, int64_t count, void* memory, Workspace& w) {
  const HexPlaneGeometry g = hexplane_geometry(layout);
  const int64_t pairs = pairs_of(layout, count);
  if (pairs > INT32_MAX) throw Error("there are too many Gaussians for the GPU's field (2^31 pairs)");
  w = {};
  check(sort(w, w.temporary_bytes, std::max<int64_t>(pairs, 1), 32, nullptr), "asking for its sort");
  char* const begin = static_cast<char*>(memory);
  size_t used = 0;
  const auto take = [&](auto*& piece, int64_t items) {
    piece = begin ? reinterpret_cast<std::remove_reference_t<decltype(piece)>>(begin + used) : nullptr;
    used += (static_cast<size_t>(items) * sizeof(*piece) + 255) / 256 * 256;
  };
  take(w.d_values, pairs * layout.channels);
  take(w.weights, pairs);
  take(w.active, count);
  for (uint32_t** piece : {&w.cell, &w.cell_sorted, &w.pair_scratch, &w.pair}) take(*piece, pairs);
  w.place = w.cell;  // which is not needed after the sort
  take(w.range, g.cells);
  take(w.box, int64_t{6} * blocks_of(g, count));
  char* temporary = nullptr;
  take(temporary, static_cast<int64_t>(w.temporary_bytes));
  w.temporary = temporary;
  return used;
}

// Interpolated value and its derivatives along columns and rows, in texels.
struct ValueAndSlopes {
  float value, x, y;
};
__device__ ValueAndSlopes value_and_slopes(float upper_left, float upper_right, float lower_left,
                                           float lower_right, float x, float y) {
  const float top_slope = upper_right - upper_left, bottom_slope = lower_right - lower_left;
  const float top = fmaf(x, top_slope, upper_left), slope_y = fmaf(x, bottom_slope, lower_left) - top;
  return {fmaf(y, slope_y, top), fmaf(y, bottom_slope - top_slope, top_slope), slope_y};
}

// d_value of every plane is d_feature times the other planes' values. Adds the derivatives with respect to
// the coordinates to `sums`.
template <int W>
__device__ void differentiate_product(const Field& field, const HexPlaneGeometry& g, const Workspace& w,
                                      const PointSample& s, const Channels<W>& d_feature, int64_t point,
                                      int level, int channel, float (&sums)[4]) {
  const int64_t first_pair = int64_t{6} * level * field.count + point;
  uint32_t place[6];
  if (field.d_grid)
#pragma unroll
    for (int plane = 0; plane < 6; ++plane) place[plane] = w.place[first_pair + plane * field.count];
  ValueAndSlopes planes[6][W];
#pragma unroll
  for (int plane = 0; plane < 6; ++plane) {
    const Corners<W> c = load_corners<W>(g, field.grid, s, level, plane, channel);
#pragma unroll
    for (int k = 0; k < W; ++k)
      planes[plane][k] =
          value_and_slopes(c.upper_left.v[k], c.upper_right.v[k], c.lower_left.v[k], c.lower_right.v[k],
                           s.axis[first_axis(plane)].weight, s.axis[second_axis(plane)].weight);
  }
#pragma unroll
  for (int plane = 0; plane < 6; ++plane) {
    Channels<W> d_value = d_feature;
    float x = 0, y = 0;
#pragma unroll
    for (int k = 0; k < W; ++k) {
#pragma unroll
      for (int other = 0; other < 6; ++other)
        if (other != plane) d_value.v[k] *= planes[other][k].value;
      x = fmaf(d_value.v[k], planes[plane][k].x, x);
      y = fmaf(d_value.v[k], planes[plane][k].y, y);
    }
    sums[first_axis(plane)] = fmaf(x, s.axis[first_axis(plane)].slope, sums[first_axis(plane)]);
    sums[second_axis(plane)] = fmaf(y, s.axis[second_axis(plane)].slope, sums[second_axis(plane)]);
    if (!field.d_grid) continue;
    store_channels(w.d_values + int64_t{place[plane]} * g.channels + channel, d_value);
    if (channel == 0)
      w.weights[place[plane]] =
          make_float2(s.axis[first_axis(plane)].weight, s.axis[second_axis(plane)].weight);
  }
}

// Where points lie in all planes. A point without derivatives (no pixel saw it) lies behind the last cell.
constexpr int kCellPoints = 32;  // of a block
__global__ void __launch_bounds__(kHexPlaneThreads)
    cells_kernel(Field field, const __grid_constant__ HexPlaneGeometry g, Workspace w) {
  __shared__ bool active[kCellPoints];
  const int thread = static_cast<int>(threadIdx.x), width = g.levels * g.channels;
  const int64_t first = int64_t{blockIdx.x} * kCellPoints;
  for (int i = thread / 32; i < kCellPoints && first + i < field.count; i += kHexPlaneThreads / 32) {
    bool any = false;
    for (int feature = thread % 32; feature < width; feature += 32)
      any |= field.d_features[(first + i) * width + feature] != 0;  // NaN is one
    any = __any_sync(0xffffffffu, any);
    if (thread % 32 != 0) continue;
    active[i] = any;
    w.active[first + i] = any;
  }
  __syncthreads();
  const int64_t point = first + thread % kCellPoints;
  if (!field.d_grid || point >= field.count) return;
  const Coordinates c = coordinates_of(field, point);
  for (int i = thread / kCellPoints; i < 6 * g.levels; i += kHexPlaneThreads / kCellPoints) {
    const HexPlaneGeometry::Plane& p = g.planes[i];
    const int column = sample_axis(c.value[first_axis(i % 6)], p.columns).low,
              row = sample_axis(c.value[second_axis(i % 6)], p.rows).low;
    const int64_t pair = i * field.count + point;
    w.cell[pair] = active[thread % kCellPoints]
                       ? p.first_cell + static_cast<uint32_t>(row * p.columns + column)
                       : g.cells;
    w.pair_scratch[pair] = static_cast<uint32_t>(pair);
  }
}

// What the threads of a block tell each other.
struct Shared {
  float d_coordinates[kHexPlaneThreads][4];
  int active[kHexPlaneThreads];  // by point
};

// u = (p - box[0])·f - 1 with f = 2/(box[1]-box[0]): du/dbox[0] = -f + (p-box[0])·f²/2, du/dbox[1] =
// -(p-box[0])·f²/2. Six threads; sums over the block's points.
__device__ void box_gradient(const Field& field, const HexPlaneBlock& block, const float (*d)[4],
                             double* out) {
  const int entry = static_cast<int>(threadIdx.x), a = entry % 3;
  const double low = field.box[a], factor = 2 / (static_cast<double>(field.box[3 + a]) - low);
  double sum = 0;
  for (int i = 0; i < block.points; ++i) {
    const int64_t point = int64_t{blockIdx.x} * block.points + i;
    if (point >= field.count) break;
    const double across = (field.points[point * 3 + a] - low) * factor * factor / 2;
    sum += d[i][a] * (entry < 3 ? across - factor : -across);
  }
  out[6 * int64_t{blockIdx.x} + entry] = sum;
}

// Adds the derivatives with respect to the coordinates of the block's points to where they belong.
__device__ void coordinate_gradients(const Field& field, const HexPlaneBlock& block, const Workspace& w,
                                     Shared& shared) {
  const int threads = min(block.per_point, kHexPlaneThreads);  // of a point
  float sum = 0;
  const int entry = static_cast<int>(threadIdx.x), i = entry / 4, a = entry % 4;
  // One thread a sum; a block holds at most 256 points only with one thread each.
  for (int first = 0; first < 4 * block.points; first += kHexPlaneThreads) {
    const int own = first / 4 + i;
    const int64_t point = int64_t{blockIdx.x} * block.points + own;
    const bool mine = own < block.points && point < field.count && shared.active[own];
    sum = 0;
    if (mine)
      for (int k = 0; k < threads; ++k) sum += shared.d_coordinates[own * threads + k][a];
    __syncthreads();
    if (own < block.points) shared.d_coordinates[own][a] = sum;
    __syncthreads();
    if (!mine) continue;
    if (a < 3 && field.d_points) {
      const double factor = 2 / (static_cast<double>(field.box[3 + a]) - field.box[a]);
      field.d_points[point * 3 + a] += static_cast<float>(sum * factor);
    }
  }
  if (field.d_box && entry < 6) box_gradient(field, block, shared.d_coordinates, w.box);
}

template <int W>
__global__ void __launch_bounds__(kHexPlaneThreads)
    values_kernel(Field field, const __grid_constant__ HexPlaneGeometry g, Workspace w) {
  __shared__ Shared shared;
  const HexPlaneBlock block(g, W);
  const int units = block.points * block.per_point, thread = static_cast<int>(threadIdx.x);
  const auto point_of = [&](int unit) { return int64_t{blockIdx.x} * block.points + unit / block.per_point; };
  const auto d_feature_of = [&](int unit) {
    return load_channels<W>(field.d_features + point_of(unit) * g.levels * g.channels +
                            unit % block.per_point * W);
  };
  const int64_t own_point = int64_t{blockIdx.x} * block.points + thread;
  shared.active[thread] = thread < block.points && own_point < field.count && w.active[own_point];
  __syncthreads();
  float sums[4] = {};
  for (int unit = thread; unit < units && point_of(unit) < field.count; unit += kHexPlaneThreads) {
    const int64_t point = point_of(unit);
    if (!shared.active[unit / block.per_point]) continue;
    const int feature = unit % block.per_point * W, level = feature / g.channels,
              channel = feature % g.channels;
    const PointSample s = sample_point(g, coordinates_of(field, point), level);
    differentiate_product<W>(field, g, w, s, d_feature_of(unit), point, level, channel, sums);
  }
  for (int a = 0; a < 4; ++a) shared.d_coordinates[thread][a] = sums[a];
  __syncthreads();
  coordinate_gradients(field, block, w, shared);
}

// A block for each of the six sums; always in the same order.
__global__ void __launch_bounds__(kHexPlaneThreads)
    add_box_kernel(float* d_box, const double* parts, unsigned blocks) {
  __shared__ double sums[kHexPlaneThreads];
  double own = 0;
  for (unsigned block = threadIdx.x; block < blocks; block += kHexPlaneThreads)
    own += parts[6 * int64_t{block} + blockIdx.x];
  sums[threadIdx.x] = own;
  for (unsigned step = kHexPlaneThreads / 2; step > 0; step /= 2) {
    __syncthreads();
    if (threadIdx.x < step) sums[threadIdx.x] += sums[threadIdx.x + step];
  }
  if (threadIdx.x == 0) d_box[blockIdx.x] += static_cast<float>(sums[0]);
}

__global__ void __launch_bounds__(kHexPlaneThreads)
    find_ranges_kernel(Workspace w, uint32_t pairs, uint32_t cells) {
  const uint32_t i = blockIdx.x * kHexPlaneThreads + threadIdx.x;
  if (i >= pairs) return;
  const uint32_t cell = w.cell_sorted[i];
  if (cell >= cells) return;
  w.place[w.pair[i]] = i;
  if (i == 0 || w.cell_sorted[i - 1] != cell) w.range[cell].x = i;
  if (i + 1 == pairs || w.cell_sorted[i + 1] != cell) w.range[cell].y = i + 1;
}

// The sorted pairs of two neighbouring cells of a row: those of the texel's left cell, then its right one's.
struct RowList {
  uint32_t begin, middle, end;
  __device__ uint32_t size() const { return end - begin; }
};
__device__ RowList list_of(const Workspace& w, uint32_t cell, bool with_left) {
  const uint2 own = w.range[cell], left = with_left ? w.range[cell - 1] : make_uint2(0, 0);
  RowList list{own.x, own.x, own.y};
  if (left.x < left.y) {
    list.begin = left.x;
    list.middle = left.y;
    if (own.x >= own.y) list.end = left.y;
  }
  return list;
}
__device__ float weight_along_columns(const RowList& list, uint32_t i, float x) {
  return i < list.middle ? x : 1 - x;
}

// Every step-th of a list.
template <int W>
__device__ void add_list(const HexPlaneGeometry& g, const Workspace& w, const RowList& list, bool lower,
                         uint32_t first, uint32_t step, int channel, Channels<W>& sum) {
  for (uint32_t i = list.begin + first; i < list.end; i += step) {
    const float2 at = w.weights[i];
    const float weight = weight_along_columns(list, i, at.x) * (lower ? at.y : 1 - at.y);
    const Channels<W> d = load_channels<W>(w.d_values + int64_t{i} * g.channels + channel);
#pragma unroll
    for (int k = 0; k < W; ++k) sum.v[k] = fmaf(d.v[k], weight, sum.v[k]);
  }
}
template <int W>
__device__ void add_to(float* at, const Channels<W>& sum, float factor) {
  Channels<W> total = load_channels<W>(at);
#pragma unroll
  for (int k = 0; k < W; ++k) total.v[k] = fmaf(sum.v[k], factor, total.v[k]);
  store_channels(at, total);
}

// A thread takes W channels of one texel; `planes.of`[blockIdx.y]: the plane. Where one texel of a warp has a
// long list, the whole warp goes through each texel's.
constexpr uint32_t kLongList = 32;
struct SomePlanes {
  int count = 0;
  int of[6 * kMostLevels];
};
template <int W>
__global__ void __launch_bounds__(kHexPlaneThreads)
    gather_kernel(float* d_grid, const __grid_constant__ HexPlaneGeometry g,
                  const __grid_constant__ SomePlanes planes, Workspace w) {
  const HexPlaneGeometry::Plane& p = g.planes[planes.of[blockIdx.y]];
  const int units = g.channels / W;
  const int64_t unit = int64_t{blockIdx.x} * kHexPlaneThreads + threadIdx.x, texel = unit / units;
  const int channel = static_cast<int>(unit % units) * W;
  const int row = static_cast<int>(texel / p.columns), column = static_cast<int>(texel % p.columns);
  const uint32_t own = p.first_cell + static_cast<uint32_t>(texel);
  RowList upper{}, lower{};  // the rows of cells above and below the texel
  if (row < p.rows) {
    lower = list_of(w, own, column > 0);
    if (row > 0) upper = list_of(w, own - static_cast<uint32_t>(p.columns), column > 0);
  }
  const uint32_t pairs = upper.size() + lower.size();
  if (!__any_sync(0xffffffffu, pairs > 0)) return;
  Channels<W> sum{};
  if (32 % units == 0 && __any_sync(0xffffffffu, pairs > kLongList)) {
    const int together = 32 / units, group = static_cast<int>(threadIdx.x) % 32 / units;
    for (int t = 0; t < together; ++t) {
      const auto shared = [&](const RowList& list) {
        return RowList{__shfl_sync(0xffffffffu, list.begin, t * units),
                       __shfl_sync(0xffffffffu, list.middle, t * units),
                       __shfl_sync(0xffffffffu, list.end, t * units)};
      };
      const RowList above = shared(upper), below = shared(lower);
      Channels<W> part{};
      add_list<W>(g, w, above, true, group, together, channel, part);
      add_list<W>(g, w, below, false, group, together, channel, part);
      for (int step = units; step < 32; step *= 2)
#pragma unroll
        for (int k = 0; k < W; ++k) part.v[k] += __shfl_xor_sync(0xffffffffu, part.v[k], step);
      if (group == t) sum = part;
    }
  } else {
    add_list<W>(g, w, upper, true, 0, 1, channel, sum);
    add_list<W>(g, w, lower, false, 0, 1, channel, sum);
  }
  if (pairs > 0) add_to<W>(d_grid + p.offset + texel * g.channels + channel, sum, 1);
}

// A plane with time, which is one for all points: blockIdx.x: the column, blockIdx.y: the plane.
template <int W>
__global__ void __launch_bounds__(kHexPlaneThreads)
    gather_column_kernel(float* d_grid, const float* time, const __grid_constant__ HexPlaneGeometry g,
                         const __grid_constant__ SomePlanes planes, Workspace w) {
  __shared__ Channels<W> parts[kHexPlaneThreads];
  const HexPlaneGeometry::Plane& p = g.planes[planes.of[blockIdx.y]];
  const int column = static_cast<int>(blockIdx.x);
  if (column >= p.columns) return;
  const AxisSample row = sample_axis(*time, p.rows);
  const RowList list =
      list_of(w, p.first_cell + static_cast<uint32_t>(row.low * p.columns + column), column > 0);
  if (list.size() == 0) return;
  const int units = g.channels / W;
  for (int first_unit = 0; first_unit < units; first_unit += kHexPlaneThreads) {
    const int own_units = min(units - first_unit, kHexPlaneThreads), slices = kHexPlaneThreads / own_units;
    const int unit = static_cast<int>(threadIdx.x) % own_units,
              slice = static_cast<int>(threadIdx.x) / own_units;
    const int channel = (first_unit + unit) * W;
    Channels<W> sum{};
    if (slice < slices) {
#pragma unroll 4
      for (uint32_t i = list.begin + slice; i < list.end; i += slices) {
        const float weight = weight_along_columns(list, i, w.weights[i].x);
        const Channels<W> d = load_channels<W>(w.d_values + int64_t{i} * g.channels + channel);
#pragma unroll
        for (int k = 0; k < W; ++k) sum.v[k] = fmaf(d.v[k], weight, sum.v[k]);
      }
    }
    parts[threadIdx.x] = sum;
    __syncthreads();
    if (slice == 0) {
      for (int other = 1; other < slices; ++other)
#pragma unroll
        for (int k = 0; k < W; ++k) sum.v[k] += parts[other * own_units + unit].v[k];
      float* const at = d_grid + p.offset + (int64_t{row.low} * p.columns + column) * g.channels + channel;
      add_to<W>(at, sum, 1 - row.weight);
      if (p.rows > 1) add_to<W>(at + int64_t{p.columns} * g.channels, sum, row.weight);
    }
    __syncthreads();
  }
}

template <int W>
void launch_gather(const Field& field, const HexPlaneGeometry& g, const Workspace& w, cudaStream_t stream) {
  SomePlanes columns, texels;
  int64_t most_columns = 0, most_texels = 0;
  for (int i = 0; i < 6 * g.levels; ++i) {
    const HexPlaneGeometry::Plane& p = g.planes[i];
    if (second_axis(i % 6) == 3) {
      columns.of[columns.count++] = i;
      most_columns = std::max(most_columns, int64_t{p.columns});
    } else {
      texels.of[texels.count++] = i;
      most_texels = std::max(most_texels, int64_t{p.rows} * p.columns);
    }
  }
  if (columns.count > 0) {
    const dim3 grid{static_cast<unsigned>(most_columns), static_cast<unsigned>(columns.count)};
    gather_column_kernel<W><<<grid, kHexPlaneThreads, 0, stream>>>(field.d_grid, field.time, g, columns, w);
  }
  const dim3 grid{blocks_for(most_texels * (g.channels / W), kHexPlaneThreads),
                  static_cast<unsigned>(texels.count)};
  gather_kernel<W><<<grid, kHexPlaneThreads, 0, stream>>>(field.d_grid, g, texels, w);
}

template <int W>
void launch(const Field& field, const HexPlaneGeometry& g, const Workspace& w, cudaStream_t stream) {
  const unsigned blocks = blocks_of(g, field.count);
  cells_kernel<<<blocks_for(field.count, kCellPoints), kHexPlaneThreads, 0, stream>>>(field, g, w);
  if (field.d_grid) {
    check(cudaMemsetAsync(w.range, 0, g.cells * sizeof(uint2), stream), "clearing the field's lists");
    const int64_t pairs = int64_t{6} * g.levels * field.count;
    size_t bytes = w.temporary_bytes;
    check(sort(w, bytes, pairs, std::bit_width(g.cells), stream), "sorting points by texel");
    find_ranges_kernel<<<blocks_for(pairs, kHexPlaneThreads), kHexPlaneThreads, 0, stream>>>(
        w, static_cast<uint32_t>(pairs), g.cells);
  }
  values_kernel<W><<<blocks, kHexPlaneThreads, 0, stream>>>(field, g, w);
  if (field.d_box) add_box_kernel<<<6, kHexPlaneThreads, 0, stream>>>(field.d_box, w.box, blocks);
  if (field.d_grid) launch_gather<W>(field, g, w, stream);
}

}  // namespace

size_t hexplane_backward_workspace_bytes(const HexPlaneLayout& layout, int64_t count) {
  Workspace w;
  return lay_out(layout, count, nullptr, w);
}

void hexplane_backward(const HexPlaneBackward& backward, void* workspace, cudaStream_t stream) {
  const Field field(backward);
  const HexPlaneLayout& layout = field.context->description.planes;
  if (field.count == 0 || layout.feature_width() == 0) return;
  const HexPlaneGeometry g = hexplane_geometry(layout);
  Workspace w;
  lay_out(layout, field.count, workspace, w);
  if (g.channels % 4 == 0)
    launch<4>(field, g, w, stream);
  else
    launch<1>(field, g, w, stream);
  check_launch("computing the gradients of the field");
}

}  // namespace eg4d::cuda
