// First, for all points: the derivatives with respect to the interpolated value of every plane and to the
// coordinates. Then the (plane, point) pairs are sorted by the cell of the plane in which the point lies, and
// each texel adds up those of the four cells around it, in the order of the points: no atomics, the same bits
// from run to run, and every derivative is written once.

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
  float* d_values;                // [pairs, channels]
  float2* weights;                // [pairs] along columns and rows
  uint32_t *cell, *cell_sorted;   // [pairs]
  uint32_t *pair_scratch, *pair;  // [pairs]
  uint2* range;                   // [cells] begin and end in the sorted pairs
  double* box;                    // [blocks, 6]
  void* temporary;
  size_t temporary_bytes;
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
  for (uint32_t** piece : {&w.cell, &w.cell_sorted, &w.pair_scratch, &w.pair}) take(*piece, pairs);
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
__device__ void differentiate_product(const HexPlane& field, const HexPlaneGeometry& g, const Workspace& w,
                                      const PointSample& s, const Channels<W>& d_feature, int64_t point,
                                      int level, int channel, float (&sums)[4]) {
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
    const int64_t pair = (6 * level + plane) * field.count + point;
    if (field.d_grid) store_channels(w.d_values + pair * g.channels + channel, d_value);
  }
}

// Where the point lies in the six planes of a level; a point without derivatives lies behind the last cell.
__device__ void write_pairs(const HexPlane& field, const HexPlaneGeometry& g, const Workspace& w,
                            const PointSample& s, int64_t point, int level, bool active) {
  for (int plane = 0; plane < 6; ++plane) {
    const HexPlaneGeometry::Plane& p = g.planes[6 * level + plane];
    const AxisSample &x = s.axis[first_axis(plane)], &y = s.axis[second_axis(plane)];
    const int64_t pair = (6 * level + plane) * field.count + point;
    w.cell[pair] = active ? p.first_cell + static_cast<uint32_t>(y.low * p.columns + x.low) : g.cells;
    w.pair_scratch[pair] = static_cast<uint32_t>(pair);
    w.weights[pair] = make_float2(x.weight, y.weight);
  }
}

// What the threads of a block tell each other.
struct Shared {
  float d_coordinates[kHexPlaneThreads][4];
  int active[kHexPlaneThreads];  // by point
};

// u = (p - box[0])·f - 1 with f = 2/(box[1]-box[0]): du/dbox[0] = -f + (p-box[0])·f²/2, du/dbox[1] =
// -(p-box[0])·f²/2. Six threads; sums over the block's points.
__device__ void box_gradient(const HexPlane& field, const HexPlaneBlock& block, const float (*d)[4],
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
__device__ void coordinate_gradients(const HexPlane& field, const HexPlaneBlock& block, const Workspace& w,
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
    if (a == 3) {
      if (field.times && field.d_times) field.d_times[point] += sum;
    } else if (field.d_points) {
      const double factor = 2 / (static_cast<double>(field.box[3 + a]) - field.box[a]);
      field.d_points[point * 3 + a] += static_cast<float>(sum * factor);
    }
  }
  if (field.d_box && entry < 6) box_gradient(field, block, shared.d_coordinates, w.box);
}

template <int W>
__global__ void __launch_bounds__(kHexPlaneThreads)
    values_kernel(HexPlane field, const float* time, const __grid_constant__ HexPlaneGeometry g,
                  Workspace w) {
  __shared__ Shared shared;
  const HexPlaneBlock block(g, W);
  const int units = block.points * block.per_point, thread = static_cast<int>(threadIdx.x);
  const auto point_of = [&](int unit) { return int64_t{blockIdx.x} * block.points + unit / block.per_point; };
  const auto d_feature_of = [&](int unit) {
    return load_channels<W>(field.d_features + point_of(unit) * g.levels * g.channels +
                            unit % block.per_point * W);
  };
  shared.active[thread] = 0;
  __syncthreads();
  for (int unit = thread; unit < units && point_of(unit) < field.count; unit += kHexPlaneThreads) {
    const Channels<W> d_feature = d_feature_of(unit);
    bool zero = true;
    for (int k = 0; k < W; ++k) zero &= d_feature.v[k] == 0;
    if (!zero) shared.active[unit / block.per_point] = 1;
  }
  __syncthreads();
  float sums[4] = {};
  for (int unit = thread; unit < units && point_of(unit) < field.count; unit += kHexPlaneThreads) {
    const int64_t point = point_of(unit);
    const bool active = shared.active[unit / block.per_point];
    const int feature = unit % block.per_point * W, level = feature / g.channels,
              channel = feature % g.channels;
    if (!active && channel > 0) continue;
    const PointSample s = sample_point(g, coordinates_of(field, time, point), level);
    if (channel == 0 && field.d_grid) write_pairs(field, g, w, s, point, level, active);
    if (active) differentiate_product<W>(field, g, w, s, d_feature_of(unit), point, level, channel, sums);
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
  if (i == 0 || w.cell_sorted[i - 1] != cell) w.range[cell].x = i;
  if (i + 1 == pairs || w.cell_sorted[i + 1] != cell) w.range[cell].y = i + 1;
}

// Adds the derivatives of the points of one cell to a texel, its corner on the right or lower side or not.
template <int W>
__device__ bool add_cell(const HexPlaneGeometry& g, const Workspace& w, uint32_t cell, bool right, bool lower,
                         int channel, Channels<W>& sum) {
  const uint2 range = w.range[cell];
  for (uint32_t i = range.x; i < range.y; ++i) {
    const uint32_t pair = w.pair[i];
    const float2 at = w.weights[pair];
    const float weight = (right ? at.x : 1 - at.x) * (lower ? at.y : 1 - at.y);
    const Channels<W> d = load_channels<W>(w.d_values + int64_t{pair} * g.channels + channel);
#pragma unroll
    for (int k = 0; k < W; ++k) sum.v[k] = fmaf(d.v[k], weight, sum.v[k]);
  }
  return range.x < range.y;
}

// A thread takes W channels of one texel; blockIdx.y: the plane.
template <int W>
__global__ void __launch_bounds__(kHexPlaneThreads)
    gather_kernel(float* d_grid, const __grid_constant__ HexPlaneGeometry g, Workspace w) {
  const HexPlaneGeometry::Plane& p = g.planes[blockIdx.y];
  const int units = g.channels / W;
  const int64_t unit = int64_t{blockIdx.x} * kHexPlaneThreads + threadIdx.x, texel = unit / units;
  if (texel >= int64_t{p.rows} * p.columns) return;
  const int channel = static_cast<int>(unit % units) * W;
  const int row = static_cast<int>(texel / p.columns), column = static_cast<int>(texel % p.columns);
  const uint32_t own = p.first_cell + static_cast<uint32_t>(texel), up = static_cast<uint32_t>(p.columns);
  Channels<W> sum{};
  bool any = add_cell<W>(g, w, own, false, false, channel, sum);
  if (column > 0) any |= add_cell<W>(g, w, own - 1, true, false, channel, sum);
  if (row > 0) any |= add_cell<W>(g, w, own - up, false, true, channel, sum);
  if (row > 0 && column > 0) any |= add_cell<W>(g, w, own - up - 1, true, true, channel, sum);
  if (!any) return;
  float* at = d_grid + p.offset + texel * g.channels + channel;
  Channels<W> total = load_channels<W>(at);
#pragma unroll
  for (int k = 0; k < W; ++k) total.v[k] += sum.v[k];
  store_channels(at, total);
}

template <int W>
void launch(const HexPlane& field, const float* time, const HexPlaneGeometry& g, const Workspace& w,
            cudaStream_t stream) {
  const unsigned blocks = blocks_of(g, field.count);
  values_kernel<W><<<blocks, kHexPlaneThreads, 0, stream>>>(field, time, g, w);
  if (field.d_box) add_box_kernel<<<6, kHexPlaneThreads, 0, stream>>>(field.d_box, w.box, blocks);
  if (!field.d_grid) return;
  check(cudaMemsetAsync(w.range, 0, g.cells * sizeof(uint2), stream), "clearing the field's lists");
  const int64_t pairs = pairs_of(*field.layout, field.count);
  size_t bytes = w.temporary_bytes;
  check(sort(w, bytes, pairs, std::bit_width(g.cells), stream), "sorting points by texel");
  find_ranges_kernel<<<blocks_for(pairs, kHexPlaneThreads), kHexPlaneThreads, 0, stream>>>(
      w, static_cast<uint32_t>(pairs), g.cells);
  int64_t most = 0;
  for (const HexPlaneLayout::Plane& plane : field.layout->planes)
    most = std::max(most, int64_t{plane.rows} * plane.columns);
  const dim3 grid{blocks_for(most * (g.channels / W), kHexPlaneThreads), static_cast<unsigned>(6 * g.levels)};
  gather_kernel<W><<<grid, kHexPlaneThreads, 0, stream>>>(field.d_grid, g, w);
}

}  // namespace

size_t hexplane_backward_workspace_bytes(const HexPlaneLayout& layout, int64_t count) {
  Workspace w;
  return lay_out(layout, count, nullptr, w);
}

void hexplane_backward(const HexPlane& field, const float* time, void* workspace, cudaStream_t stream) {
  if (field.count == 0 || field.layout->feature_width() == 0) return;
  const HexPlaneGeometry g = hexplane_geometry(*field.layout);
  Workspace w;
  lay_out(*field.layout, field.count, workspace, w);
  if (g.channels % 4 == 0)
    launch<4>(field, time, g, w, stream);
  else
    launch<1>(field, time, g, w, stream);
  check_launch("computing the gradients of the field");
}

}  // namespace eg4d::cuda
