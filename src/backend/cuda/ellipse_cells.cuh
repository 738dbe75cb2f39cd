#pragma once

// Which cells of a row an ellipse reaches. An ellipse cut by a row of cells is convex, so the columns that it
// reaches there are those between its leftmost and its rightmost point in the row: exact, without looking at
// cell by cell. Compiled with -fmad=false wherever it is used: counting and writing must agree to the bit.

#include "backend/cuda/rasterizer_kernels.cuh"

namespace eg4d::cuda {

struct CellRange {
  int begin, end;
  __device__ int size() const { return end - begin; }
};

__device__ inline float half_width(const Ellipse& e, float v) {
  return sqrtf(e.spread * fmaxf(e.limit - v * v * e.inverse_yy, 0.0f));
}

__device__ inline CellRange cells_of_row(const Ellipse& e, const CellBox& box, int row) {
  const float top = static_cast<float>(row * kCellHeight) - e.y, bottom = top + (kCellHeight - 1);
  const float right_v = fminf(fmaxf(e.tip, top), bottom), left_v = fminf(fmaxf(-e.tip, top), bottom);
  const float right = e.x + (e.slope * right_v + half_width(e, right_v)) + e.margin;
  const float left = e.x + (e.slope * left_v - half_width(e, left_v)) - e.margin;
  // Where a number is not finite the comparisons keep the box's.
  const float first = fmaxf(ceilf(left), static_cast<float>(box.x0 * kCellWidth));
  const float last = fminf(floorf(right), static_cast<float>(box.x1 * kCellWidth - 1));
  if (!(first <= last)) return {0, 0};
  return {static_cast<int>(first) / kCellWidth, static_cast<int>(last) / kCellWidth + 1};
}

// A Gaussian of more pairs than this is the whole warp's work: a single lane would keep the others waiting.
inline constexpr uint32_t kManyPairs = 48;

// The cells of each lane's Gaussian, of which there are `pairs`, in the order of their slots; all lanes call
// it. Ellipses and boxes are read from the workspace. Calls row(gaussian, first slot, first cell, size) for a
// row of cells, or one(gaussian, slot, cell).
template <class Row, class One>
__device__ void for_each_cell(const RasterizerWorkspace& w, int columns, uint32_t gaussian, uint32_t slot,
                              uint32_t pairs, int lane, const Row& row_of, const One& one) {
  const bool many = pairs > kManyPairs;
  if (pairs > 0 && !many) {
    const Ellipse ellipse = w.ellipses[gaussian];
    const CellBox box = w.boxes[gaussian];
    uint32_t next = slot;
    for (int row = box.y0; row < box.y1; ++row) {
      const CellRange range = cells_of_row(ellipse, box, row);
      row_of(gaussian, next, static_cast<uint32_t>(row * columns + range.begin), range.size());
      next += range.size();
    }
  }
  for (unsigned left = __ballot_sync(kAllLanes, many); left != 0; left &= left - 1) {
    const int from = __ffs(static_cast<int>(left)) - 1;
    const uint32_t number = __shfl_sync(kAllLanes, gaussian, from);
    uint32_t next = __shfl_sync(kAllLanes, slot, from);
    const Ellipse ellipse = w.ellipses[number];
    const CellBox box = w.boxes[number];
    for (int first = box.y0; first < box.y1; first += kWarp) {  // one row a lane, then row by row together
      const int own_row = first + lane;
      CellRange own{0, 0};
      if (own_row < box.y1) own = cells_of_row(ellipse, box, own_row);
      const int rows = min(kWarp, box.y1 - first);
      for (int k = 0; k < rows; ++k) {
        const int begin = __shfl_sync(kAllLanes, own.begin, k), size = __shfl_sync(kAllLanes, own.size(), k);
        const uint32_t cell = static_cast<uint32_t>((first + k) * columns + begin);
        for (int column = lane; column < size; column += kWarp) one(number, next + column, cell + column);
        next += size;
      }
    }
  }
}

}  // namespace eg4d::cuda
