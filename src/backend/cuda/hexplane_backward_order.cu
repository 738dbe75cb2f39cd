// The order of the hexplane's backward pass (hexplane_backward.cuh).

#include "backend/cuda/check.h"
#include "backend/cuda/hexplane_backward.cuh"
#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = kHexPlaneThreads;
static_assert(kThreads == kRadix);
constexpr int kBlockPoints = 32;    // whose items a block makes
constexpr int kColumnUnits = 1024;  // channels of columns that a block interpolates

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

// Keys of the block's points.
__device__ void make_items(const Field& field, const FieldGeometry& g, const FieldWorkspace& w,
                           int64_t first) {
  __shared__ uint32_t counts[kMostDigits][kRadix];
  const int thread = static_cast<int>(threadIdx.x);
  for (int digit = 0; digit < kMostDigits; ++digit) counts[digit][thread] = 0;
  __syncthreads();
  const int64_t point = first + thread % kBlockPoints;
  if (point < field.count) {
    const Coordinates c = coordinates_of(field, point);
    for (int i = thread / kBlockPoints; i <= 3 * g.levels; i += kThreads / kBlockPoints) {
      uint32_t key = g.cells + morton(c);
      if (i < 3 * g.levels) {
        const FieldGeometry::Level& level = g.level[i / 3];
        const int across = space_axis(i % 3, 0), down = space_axis(i % 3, 1);
        const int column = sample_axis(c.value[across], level.size[across]).low,
                  row = sample_axis(c.value[down], level.size[down]).low;
        key = level.space[i % 3].first_cell + static_cast<uint32_t>(row * level.size[across] + column);
      }
      const int64_t item = i * field.count + point;
      w.sort.keys[0][item] = key;
      w.sort.items[0][item] = static_cast<uint32_t>(item);
      for (int digit = 0; digit < w.sort.digits; ++digit)
        atomicAdd(&counts[digit][key >> (digit * kRadixBits) & (kRadix - 1)], 1u);
    }
  }
  __syncthreads();
  for (int digit = 0; digit < w.sort.digits; ++digit)
    if (const uint32_t count = counts[digit][thread]; count > 0)
      atomicAdd(&w.sort.histogram[digit * kRadix + thread], count);
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

__global__ void __launch_bounds__(kThreads)
    prepare_kernel(Field field, const __grid_constant__ FieldGeometry g, FieldWorkspace w, unsigned points) {
  if (blockIdx.x < points) return make_items(field, g, w, int64_t{blockIdx.x} * kBlockPoints);
  interpolate_columns(field, g, w, static_cast<int>(blockIdx.x - points) * kColumnUnits);
}

// ---------------------------------------------------------------- cells and tiles

// Where every cell's pairs begin in the sorted items: the first item of a key writes for it and for all empty
// cells before, where they are many with the whole block.
__device__ void find_cells(const FieldWorkspace& w, uint32_t cells, uint32_t block) {
  constexpr uint32_t kFew = 8;
  struct Gap {
    uint32_t first, end, item;
  };
  __shared__ Gap gaps[kThreads];
  __shared__ int count;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  const uint32_t i = block * kThreads + threadIdx.x;
  if (i <= w.pairs) {
    const uint32_t first = i == 0 ? 0 : w.key[i - 1] + 1, end = (i == w.pairs ? cells : w.key[i]) + 1;
    if (end - first > kFew)
      gaps[atomicAdd(&count, 1)] = {first, end, i};
    else
      for (uint32_t cell = first; cell < end; ++cell) w.begin[cell] = i;
  }
  __syncthreads();
  for (int k = 0; k < count; ++k)
    for (uint32_t cell = gaps[k].first + threadIdx.x; cell < gaps[k].end; cell += kThreads)
      w.begin[cell] = gaps[k].item;
}

// A tile's coordinates, and their ranks along each axis.
__device__ void make_tile(const Field& field, const FieldWorkspace& w, int tile) {
  __shared__ float coordinates[3 * kMostTilePoints];
  const int64_t first = int64_t{tile} * w.points;
  const int count = static_cast<int>(min(int64_t{w.points}, field.count - first)),
            thread = static_cast<int>(threadIdx.x), axis = thread / count, i = thread % count;
  const bool works = axis < 3;
  float own = 0;
  if (works) {
    own = coordinates_of(field, w.point(first + i)).value[axis];
    if (own != own) own = -INFINITY;  // NaN: a corner
    coordinates[thread] = own;
    w.coordinates[axis * w.room() + first + i] = own;
  }
  __syncthreads();
  if (!works) return;
  const float* const all = coordinates + axis * count;
  int rank = 0;
#pragma unroll 8
  for (int other = 0; other < count; ++other) rank += all[other] < own || (all[other] == own && other < i);
  w.ranks[axis * w.room() + first + i] = static_cast<uint8_t>(rank);
}
static_assert(3 * kMostTilePoints <= kThreads && kMostTilePoints <= 255);

__global__ void __launch_bounds__(kThreads)
    places_kernel(Field field, FieldWorkspace w, uint32_t cells, unsigned tiles) {
  if (blockIdx.x < tiles) return make_tile(field, w, static_cast<int>(blockIdx.x));
  find_cells(w, cells, blockIdx.x - tiles);
}

// ---------------------------------------------------------------- entries

// A plane without time, as a thread that enters a pair sees it. Entries lie in the order of their left
// texels' cells; those of the texel's row of cells above come before those of its own.
struct Plane {
  const uint32_t* begin;
  uint32_t first_cell, columns;

  // How many entries come before those of this cell's texel; row 0 has no cells above.
  __device__ uint32_t entries_before(uint32_t cell) const {
    const uint32_t above = cell < first_cell + columns ? first_cell : cell - columns;
    return begin[cell] + begin[above];
  }
};

__device__ Cut cut_at(const Plane& plane, uint32_t entry, uint32_t cell, uint32_t texel) {
  const bool leftmost = (cell - plane.first_cell) % plane.columns == 0;
  if (plane.entries_before(cell) == entry)
    return {leftmost ? entry : plane.entries_before(cell - 1), entry, texel};
  // In the midst of a cell's entries: behind them.
  const uint32_t next = plane.entries_before(cell + 1);
  return {plane.columns > 1 ? plane.entries_before(cell) : next, next, texel + 1};
}

__global__ void __launch_bounds__(kThreads)
    enter_kernel(Field field, const __grid_constant__ FieldGeometry g, FieldWorkspace w) {
  const uint32_t i = blockIdx.x * kThreads + threadIdx.x;
  if (i == 0) w.cuts[w.cut_count] = {2 * w.pairs, 2 * w.pairs, kNoRow};
  if (i >= w.pairs) return;
  const uint32_t cell = w.key[i], row = w.item[i], number = row / static_cast<uint32_t>(field.count);
  const Coordinates c = coordinates_of(field, row - number * static_cast<uint32_t>(field.count));
  const FieldGeometry::Level& level = g.level[number / 3];
  const int k = static_cast<int>(number % 3), across = space_axis(k, 0), down = space_axis(k, 1);
  const float x = sample_axis(c.value[across], level.size[across]).weight,
              y = sample_axis(c.value[down], level.size[down]).weight;
  const Plane plane{w.begin, level.space[k].first_cell, static_cast<uint32_t>(level.size[across])};
  const uint32_t texel = static_cast<uint32_t>(level.space[k].offset / g.channels) + cell - plane.first_cell;
  const uint32_t above =
      cell < plane.first_cell + plane.columns ? plane.first_cell : cell - plane.columns + 1;
  const auto enter = [&](uint32_t entry, uint32_t of_cell, uint32_t at, float weight, uint32_t from) {
    w.entries[entry] = {at, from, (1 - x) * weight, x * weight};
    if (entry % kCutEntries == 0) w.cuts[entry / kCutEntries] = cut_at(plane, entry, of_cell, at);
  };
  enter(i + w.begin[above], cell, texel, 1 - y, row);
  enter(i + w.begin[cell + plane.columns], cell + plane.columns, texel + plane.columns, y,
        level.size[down] > 1 ? row : kNoRow);  // a plane of one row has none below
}

}  // namespace

void hexplane_order(const Field& field, const FieldGeometry& g, const FieldWorkspace& w,
                    cudaStream_t stream) {
  const auto words = static_cast<size_t>(1 + radix_sort_words(w.items, w.sort.digits));
  const FillBytes clear{w.finished, 0, words * sizeof(uint32_t)};
  fill_bytes({&clear, 1}, stream);
  const unsigned points = blocks_for(field.count, kBlockPoints),
                 columns = blocks_for(int64_t{g.columns} * g.channels, kColumnUnits),
                 tiles = static_cast<unsigned>(w.tiles);
  prepare_kernel<<<points + columns, kThreads, 0, stream>>>(field, g, w, points);
  radix_sort(w.sort, stream);
  places_kernel<<<tiles + blocks_for(int64_t{w.pairs} + 1, kThreads), kThreads, 0, stream>>>(field, w,
                                                                                             g.cells, tiles);
  enter_kernel<<<blocks_for(w.pairs, kThreads), kThreads, 0, stream>>>(field, g, w);
}

}  // namespace eg4d::cuda
