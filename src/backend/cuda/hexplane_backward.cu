// The hexplane's backward pass: which points have derivatives, and the order in which they are worked on.

#include "backend/cuda/hexplane_backward.cuh"

#include <algorithm>
#include <bit>
#include <cub/device/device_radix_sort.cuh>

#include "backend/backend.h"
#include "backend/cuda/check.h"
#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = kHexPlaneThreads;
constexpr int kMortonBits = 7;  // an axis
constexpr uint32_t kMortonNumbers = 1u << (3 * kMortonBits);
constexpr int kBlockPoints = 32;     // whose items a block makes
constexpr int kClearedCells = 2048;  // whose ranges a block clears
constexpr int kColumnUnits = 1024;   // channels of columns that a block interpolates

FieldGeometry geometry_of(const HexPlaneLayout& layout) {
  const HexPlaneGeometry from = hexplane_geometry(layout);
  FieldGeometry g{};
  g.channels = from.channels;
  g.levels = from.levels;
  for (int l = 0; l < g.levels; ++l) {
    FieldGeometry::Level& level = g.level[l];
    const HexPlaneGeometry::Plane* planes = from.planes + 6 * l;
    for (int k = 0; k < 3; ++k) {
      const HexPlaneGeometry::Plane &space = planes[k == 2 ? 3 : k], &time = planes[k == 0 ? 2 : 3 + k];
      level.size[k] = time.columns;
      level.space[k] = {space.offset, g.cells};
      level.time[k] = {time.offset, g.columns};
      g.cells += static_cast<uint32_t>(space.rows) * static_cast<uint32_t>(space.columns);
      g.columns += time.columns;
    }
    level.size[3] = planes[2].rows;
  }
  return g;
}

cudaError_t sort(const FieldWorkspace& w, size_t& bytes, int bits, cudaStream_t stream) {
  return cub::DeviceRadixSort::SortPairs(w.temporary, bytes, w.key, w.key_sorted, w.item_scratch, w.item,
                                         static_cast<int>(std::max(w.items, 1u)), 0, bits, stream);
}

size_t lay_out(const FieldGeometry& g, int64_t count, void* memory, FieldWorkspace& w) {
  const int64_t pairs = int64_t{3} * g.levels * count;
  if (pairs + count > INT32_MAX) throw Error("there are too many Gaussians for the GPU's field (2^31 pairs)");
  w = {};
  w.items = static_cast<uint32_t>(pairs + count);
  const int units = g.channels / (g.channels % 4 == 0 ? 4 : 1);
  if (units > kHexPlaneThreads)
    throw NotOnThisDevice("the GPU takes a field of at most 256 channels; use --device cpu");
  w.points = tile_points(units);
  w.tiles = static_cast<int>((count + w.points - 1) / w.points);
  check(sort(w, w.temporary_bytes, 32, nullptr), "asking for its sort");
  char* const begin = static_cast<char*>(memory);
  size_t used = 0;
  const auto take = [&](auto*& piece, int64_t items) {
    piece = begin ? reinterpret_cast<std::remove_reference_t<decltype(piece)>>(begin + used) : nullptr;
    used += (static_cast<size_t>(items) * sizeof(*piece) + 255) / 256 * 256;
  };
  take(w.d_values, pairs * g.channels);
  take(w.weights, pairs);
  for (uint32_t** piece : {&w.key, &w.key_sorted, &w.item_scratch, &w.item}) take(*piece, w.items);
  take(w.place, pairs);
  take(w.range, g.cells);
  take(w.order, 1);
  take(w.time_rows, int64_t{g.columns} * g.channels);
  take(w.partial, int64_t{w.tiles} * g.columns * g.channels);
  take(w.span, int64_t{3} * g.levels * w.tiles);
  take(w.d_coordinates, int64_t{3} * g.levels * w.tiles * w.points);
  take(w.box, int64_t{6} * g.levels * w.tiles);
  char* temporary = nullptr;
  take(temporary, static_cast<int64_t>(w.temporary_bytes));
  w.temporary = temporary;
  return used;
}

// ---------------------------------------------------------------- items

// Every third bit.
__device__ uint32_t spread(uint32_t bits) {
  uint32_t spread = 0;
#pragma unroll
  for (int k = 0; k < kMortonBits; ++k) spread |= (bits >> k & 1) << (3 * k);
  return spread;
}
__device__ uint32_t morton(const Coordinates& c) {
  constexpr float kHalf = 1 << (kMortonBits - 1);
  uint32_t number = 0;
  for (int a = 0; a < 3; ++a) {
    const float cell = fminf(fmaxf(fmaf(c.value[a], kHalf, kHalf), 0.0f), 2 * kHalf - 1);  // NaN: 0
    number |= spread(static_cast<uint32_t>(cell)) << a;
  }
  return number;
}

// Keys of the block's points. A point without derivatives (no pixel saw it) lies behind everything.
__device__ void make_items(const Field& field, const FieldGeometry& g, const FieldWorkspace& w,
                           int64_t first) {
  __shared__ bool active[kBlockPoints];
  const int thread = static_cast<int>(threadIdx.x), width = g.levels * g.channels;
  for (int i = thread / 32; i < kBlockPoints && first + i < field.count; i += kThreads / 32) {
    bool any = false;
    for (int feature = thread % 32; feature < width; feature += 32)
      any |= field.d_features[(first + i) * width + feature] != 0;  // NaN is one
    any = __any_sync(0xffffffffu, any);
    if (thread % 32 == 0) active[i] = any;
  }
  __syncthreads();
  const int64_t point = first + thread % kBlockPoints;
  if (point >= field.count) return;
  const Coordinates c = coordinates_of(field, point);
  const bool mine = active[thread % kBlockPoints];
  for (int i = thread / kBlockPoints; i <= 3 * g.levels; i += kThreads / kBlockPoints) {
    uint32_t key = g.cells + kMortonNumbers;
    if (mine && i == 3 * g.levels) {
      key = g.cells + morton(c);
    } else if (mine) {
      const FieldGeometry::Level& level = g.level[i / 3];
      const int across = space_axis(i % 3, 0), down = space_axis(i % 3, 1);
      const int column = sample_axis(c.value[across], level.size[across]).low,
                row = sample_axis(c.value[down], level.size[down]).low;
      key = level.space[i % 3].first_cell + static_cast<uint32_t>(row * level.size[across] + column);
    }
    const int64_t item = i * field.count + point;
    w.key[item] = key;
    w.item_scratch[item] = static_cast<uint32_t>(item);
  }
}

// The planes with time, at this time.
__device__ void interpolate_columns(const Field& field, const FieldGeometry& g, const FieldWorkspace& w,
                                    int first) {
  const int end = min(first + kColumnUnits, g.columns * g.channels);
  for (int i = first + static_cast<int>(threadIdx.x); i < end; i += kThreads) {
    const int column = i / g.channels, channel = i % g.channels;
    int plane = 3 * g.levels - 1;
    while (column < g.level[plane / 3].time[plane % 3].first_column) --plane;
    const FieldGeometry::Level& level = g.level[plane / 3];
    const FieldGeometry::Level::Time& time = level.time[plane % 3];
    const AxisSample row = sample_axis(*field.time, level.size[3]);
    const int64_t stride = int64_t{level.size[plane % 3]} * g.channels;
    const float* from = field.grid + time.offset + row.low * stride +
                        int64_t{column - time.first_column} * g.channels + channel;
    const float low = from[0], high = from[level.size[3] > 1 ? stride : 0];
    w.time_rows[i] = fmaf(row.weight, high - low, low);
  }
}

struct Shares {
  unsigned points, cells, columns;  // blocks
};
__global__ void __launch_bounds__(kThreads)
    prepare_kernel(Field field, const __grid_constant__ FieldGeometry g, FieldWorkspace w, Shares shares) {
  unsigned block = blockIdx.x;
  if (block < shares.points) return make_items(field, g, w, int64_t{block} * kBlockPoints);
  block -= shares.points;
  if (block >= shares.cells)
    return interpolate_columns(field, g, w, static_cast<int>(block - shares.cells) * kColumnUnits);
  const uint32_t first = block * kClearedCells, end = min(first + kClearedCells, g.cells);
  for (uint32_t i = first + threadIdx.x; i < end; i += kThreads) w.range[i] = make_uint2(0, 0);
}

// Where pairs, cells and the order of points have come to lie.
__global__ void __launch_bounds__(kThreads)
    places_kernel(FieldWorkspace w, uint32_t count, uint32_t planes, uint32_t cells) {
  const uint32_t i = blockIdx.x * kThreads + threadIdx.x, items = w.items;
  if (i >= items) return;
  const uint32_t key = w.key_sorted[i], before = i == 0 ? 0 : w.key_sorted[i - 1];
  const bool first = i == 0 || before != key;
  if (key < cells) {
    const uint32_t item = w.item[i], plane = item / count;
    w.place[(item - plane * count) * planes + plane] = i;
    if (first) w.range[key].x = i;
    if (w.key_sorted[i + 1] != key) w.range[key].y = i + 1;  // points' numbers are behind all cells
    return;
  }
  if (i == 0 || before < cells) w.order->begin = i;
  const uint32_t nowhere = cells + kMortonNumbers;
  if (key == nowhere && first) w.order->end = i;
  if (key != nowhere && i + 1 == items) w.order->end = items;
}

}  // namespace

size_t hexplane_backward_workspace_bytes(const HexPlaneLayout& layout, int64_t count) {
  FieldWorkspace w;
  return lay_out(geometry_of(layout), count, nullptr, w);
}

void hexplane_backward(const HexPlaneBackward& backward, void* workspace, cudaStream_t stream) {
  const Field field(backward);
  const HexPlaneLayout& layout = field.context->description.planes;
  if (field.count == 0 || layout.feature_width() == 0) return;
  const FieldGeometry g = geometry_of(layout);
  FieldWorkspace w;
  lay_out(g, field.count, workspace, w);
  const Shares shares{blocks_for(field.count, kBlockPoints), blocks_for(g.cells, kClearedCells),
                      blocks_for(int64_t{g.columns} * g.channels, kColumnUnits)};
  prepare_kernel<<<shares.points + shares.cells + shares.columns, kThreads, 0, stream>>>(field, g, w, shares);
  size_t bytes = w.temporary_bytes;
  check(sort(w, bytes, std::bit_width(g.cells + kMortonNumbers), stream), "sorting points by texel");
  places_kernel<<<blocks_for(w.items, kThreads), kThreads, 0, stream>>>(
      w, static_cast<uint32_t>(field.count), static_cast<uint32_t>(3 * g.levels), g.cells);
  hexplane_values(field, g, w, stream);
  hexplane_gather(field, g, w, stream);
  check_launch("computing the gradients of the field");
}

}  // namespace eg4d::cuda
