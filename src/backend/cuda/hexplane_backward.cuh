#pragma once

// The steps of the hexplane's backward pass, and what they leave for each other.
//
// Its order, which needs no derivatives and so can be made while others are computed: points are sorted
// along a curve (Morton's), in tiles of neighbours. The (plane, point) pairs of planes without time are
// sorted by the cell in which the point lies, and each is entered twice, for the row of texels above it and
// for the one below: a list of entries in which all that one texel gets lies together, in the order of
// texels.
//
// Its gradients: a block takes a tile of points on one level and writes the derivatives with respect to the
// values of the planes without time, a row of channels per pair. A block then walks through some entries and
// adds up these rows texel by texel; it has as many entries as any other.
//
// Planes with time: all points have one time, so of such a plane only two rows are met, and what is needed
// of it is one row between them ("column", interpolated in time) with its gradient. The tile's block adds up
// its derivatives column by column in shared memory, and leaves one partial sum per column; these are added
// up tile by tile.
//
// Every sum has one order, which only inputs decide: the same bits from run to run. Where something is added
// to memory by an atomic operation, nobody else adds to it.

#include "backend/cuda/hexplane.cuh"
#include "backend/cuda/radix_sort.h"

namespace eg4d::cuda {

// The field as the backward pass walks it: per level the three planes without time (xy, xz, yz), and the
// three with time (xt, yt, zt), whose columns are numbered through.
struct FieldGeometry {
  struct Level {
    int size[4];  // texels along x, y, z, t
    struct Space {
      int64_t offset;       // of the first texel, in floats
      uint32_t first_cell;  // of the planes without time; a plane has a row of cells behind its last texels
    } space[3];
    struct Time {
      int64_t offset;
      int first_column;
    } time[3];
  } level[kMostLevels];
  int channels, levels;
  uint32_t cells;
  int columns;
};
// The axes of a plane without time.
__host__ __device__ constexpr int space_axis(int plane, int which) {
  return which == 0 ? plane / 2 : plane == 0 ? 1 : 2;
}

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

// Points that a block works on together, on one level.
inline constexpr int kMostTilePoints = 64, kTileChannels = 2048;
constexpr int tile_points(int channels) {
  return kTileChannels / channels < kMostTilePoints ? kTileChannels / channels : kMostTilePoints;
}

// Of a point along the curve.
inline constexpr int kMortonBits = 7;  // an axis
inline constexpr uint32_t kMortonNumbers = 1u << (3 * kMortonBits);

// What a pair adds to two neighbouring texels of a row.
struct Entry {
  uint32_t texel;     // the left one: its place in the grid, in texels
  uint32_t row;       // of the pair's derivatives; kNoRow: it adds nothing
  float left, right;  // weights
};
inline constexpr uint32_t kNoRow = ~0u;
static_assert(sizeof(Entry) == sizeof(uint4));

// Where one block ends and the next begins, at about every kCutEntries-th entry, but never between two of one
// cell. A block has texels up to `texel` of the next one's cut; of those entries that it reads before its
// own, it takes the right texel alone.
inline constexpr uint32_t kCutEntries = 256;
struct Cut {
  uint32_t read, own, texel;
};

struct FieldWorkspace {
  float* d_values;  // [3·levels, N, channels] with respect to values of the planes without time
  RadixSort sort;   // [items]
  uint32_t* key;    // [items] sorted: cell, or behind all cells Morton's number
  uint32_t* item;   // [items] likewise: (3·level + plane)·N + point; behind all planes: point
  uint32_t* begin;  // [cells + 1] of a cell's pairs in the sorted items
  Entry* entries;   // [2·pairs]
  Cut* cuts;        // [blocks of entries + 1]
  // In the order of the tiles; `room` is tiles·points.
  float* coordinates;    // [3, room] NaN is a corner
  uint8_t* ranks;        // [3, room] among the tile's coordinates along the axis
  float* time_rows;      // [columns, channels] planes with time, interpolated
  float* partial;        // [tiles, columns, channels] their gradients
  int2* span;            // [3·levels, tiles] columns of a plane that a tile has partial sums of
  uint8_t* active;       // [levels, N] whether the point has derivatives on the level
  float* d_coordinates;  // [levels, N, 3] of active points
  double* box;           // [blocks of points, 6]
  uint32_t* finished;    // blocks of points; the sort's words follow, and are cleared with it
  uint32_t pairs, items;
  int tiles, points;  // so many tiles, of so many points
  uint32_t cut_count;

  __device__ int64_t room() const { return int64_t{tiles} * points; }
  // Of the i-th point along the curve.
  __device__ uint32_t point(int64_t i) const { return item[pairs + i] - pairs; }
};

// d(normalised coordinate)/d(position).
__device__ inline double position_factor(const HexPlane& field, int axis) {
  return 2 / (static_cast<double>(field.box[3 + axis]) - field.box[axis]);
}

// One addition to memory to which nobody else adds meanwhile; what is zero is not.
__device__ inline void add_alone(float* to, float value) {
  if (value != 0) atomicAdd(to, value);
}

// hexplane_backward_order.cu: the order, and the planes with time at this time.
void hexplane_order(const Field& field, const FieldGeometry& geometry, const FieldWorkspace& workspace,
                    cudaStream_t stream);
// hexplane_backward_values.cu: all derivatives of all active points.
void hexplane_values(const Field& field, const FieldGeometry& geometry, const FieldWorkspace& workspace,
                     cudaStream_t stream);
// hexplane_backward_gather.cu: adds to all gradients.
void hexplane_gather(const Field& field, const FieldGeometry& geometry, const FieldWorkspace& workspace,
                     cudaStream_t stream);

}  // namespace eg4d::cuda
