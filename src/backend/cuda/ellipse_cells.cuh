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

}  // namespace eg4d::cuda
