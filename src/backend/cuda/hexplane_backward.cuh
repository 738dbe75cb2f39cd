#pragma once

// The steps of the hexplane's backward pass, and what they leave for each other.
//
// Planes without time: their (plane, point) pairs are sorted by the cell in which the point lies. The
// derivatives with respect to interpolated values are written in that order, once; then each texel adds up
// those of the four cells around it, in their order.
//
// Planes with time: all points have one time, so of such a plane only two rows are met, and what is needed
// of it is one row between them ("column", interpolated in time) with its gradient. A block takes a tile of
// points that lie near each other (Morton's order), adds up their derivatives column by column in shared
// memory, and leaves one partial sum per column; these are added up tile by tile.
//
// No sum is made by atomics, and every order is one of points: the same bits from run to run.

#include "backend/cuda/hexplane.cuh"

namespace eg4d::cuda {

// The field as the backward pass walks it: per level the three planes without time (xy, xz, yz), and the
// three with time (xt, yt, zt), whose columns are numbered through.
struct FieldGeometry {
  struct Level {
    int size[4];  // texels along x, y, z, t
    struct Space {
      int64_t offset;       // of the first texel, in floats
      uint32_t first_cell;  // cells (texels) of the planes without time before
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

// Points that a block works on together, on one level; a unit is W channels of one.
inline constexpr int kTileUnits = 512, kMostTilePoints = 64;
inline int tile_points(int units) {
  return kTileUnits / units < kMostTilePoints ? kTileUnits / units : kMostTilePoints;
}

// Of active points, those with a derivative, in Morton's order: begin and end in the sorted items.
struct PointOrder {
  uint32_t begin, end;
};

struct FieldWorkspace {
  float* d_values;                // [3·levels·N, channels] of planes without time, sorted
  float2* weights;                // [3·levels·N] along columns and rows, likewise
  uint32_t *key, *key_sorted;     // [items] cell, or behind all cells Morton's number
  uint32_t *item_scratch, *item;  // [items] (3·level + plane)·N + point; behind all levels: point
  uint32_t* place;                // [N, 3·levels] of a pair in the order of the cells
  uint2* range;                   // [cells] begin and end in the sorted items
  PointOrder* order;
  float* time_rows;      // [columns, channels] planes with time, interpolated
  float* partial;        // [tiles, columns, channels] their gradients
  int2* span;            // [3·levels, tiles] columns of a plane that a tile has partial sums of
  float* d_coordinates;  // [3·levels, tiles·points] in the order of points
  double* box;           // [levels·tiles, 6]
  void* temporary;
  size_t temporary_bytes;
  uint32_t items;
  int tiles, points;  // at most so many tiles, of so many points
};

// d(normalised coordinate)/d(position).
__device__ inline double position_factor(const HexPlane& field, int axis) {
  return 2 / (static_cast<double>(field.box[3 + axis]) - field.box[axis]);
}

// hexplane_backward_values.cu: all derivatives of all active points.
void hexplane_values(const Field& field, const FieldGeometry& geometry, const FieldWorkspace& workspace,
                     cudaStream_t stream);
// hexplane_backward_gather.cu: adds to all gradients.
void hexplane_gather(const Field& field, const FieldGeometry& geometry, const FieldWorkspace& workspace,
                     cudaStream_t stream);

}  // namespace eg4d::cuda
