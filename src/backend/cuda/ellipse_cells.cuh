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

// Cells of a Gaussian that a lane gets at a time; kNoCell where there are no more.
inline constexpr int kCellsTogether = 4;
inline constexpr uint32_t kNoCell = ~0u;

// The cells of one Gaussian, by the whole warp: neighbouring lanes get neighbouring cells. All lanes call it
// with the same arguments. Calls some(gaussian, slot, cells) for kCellsTogether cells, whose slots are kWarp
// apart.
template <class Some>
__device__ void for_many_cells(const RasterizerWorkspace& w, int columns, uint32_t gaussian, uint32_t slot,
                               int lane, const Some& some) {
  const Ellipse ellipse = w.ellipses[gaussian];
  const CellBox box = w.boxes[gaussian];
  for (int first = box.y0; first < box.y1; first += kWarp) {  // a row of cells a lane
    const int row = first + lane;
    CellRange range{0, 0};
    if (row < box.y1) range = cells_of_row(ellipse, box, row);
    const uint32_t size = static_cast<uint32_t>(range.size());
    uint32_t end = size;  // of the row's cells among those of all rows
    for (int step = 1; step < kWarp; step *= 2) {
      const uint32_t before = __shfl_up_sync(kAllLanes, end, step);
      if (lane >= step) end += before;
    }
    const uint32_t total = __shfl_sync(kAllLanes, end, kWarp - 1);
    const uint32_t before_first = static_cast<uint32_t>(row * columns + range.begin) - (end - size);
    for (uint32_t base = 0; base < total; base += kCellsTogether * kWarp) {
      uint32_t cells[kCellsTogether];
#pragma unroll
      for (int j = 0; j < kCellsTogether; ++j) {
        const uint32_t i = base + static_cast<uint32_t>(j * kWarp + lane);
        int rows = 0;  // that end before it
#pragma unroll
        for (int step = kWarp / 2; step > 0; step /= 2)
          if (__shfl_sync(kAllLanes, end, rows + step - 1) <= i) rows += step;
        const uint32_t cell = __shfl_sync(kAllLanes, before_first, rows) + i;
        cells[j] = i < total ? cell : kNoCell;
      }
      some(gaussian, slot + base + static_cast<uint32_t>(lane), cells);
    }
    slot += total;
  }
}

// The same of each lane's Gaussian that has many, one after the other; all lanes call it.
template <class Some>
__device__ void for_all_large(const RasterizerWorkspace& w, int columns, uint32_t gaussian, uint32_t slot,
                              bool many, int lane, const Some& some) {
  for (unsigned left = __ballot_sync(kAllLanes, many); left != 0; left &= left - 1) {
    const int from = __ffs(static_cast<int>(left)) - 1;
    for_many_cells(w, columns, __shfl_sync(kAllLanes, gaussian, from), __shfl_sync(kAllLanes, slot, from),
                   lane, some);
  }
}

// The cells of each lane's Gaussian, of which there are `pairs`, in the order of their slots; all lanes call
// it. Ellipses and boxes are read from the workspace. Calls row(gaussian, first slot, first cell, size) for a
// row of cells of a Gaussian that has few, for_many_cells' `some` for the others.
template <class Row, class Some>
__device__ void for_each_cell(const RasterizerWorkspace& w, int columns, uint32_t gaussian, uint32_t slot,
                              uint32_t pairs, int lane, const Row& row_of, const Some& some) {
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
  for_all_large(w, columns, gaussian, slot, many, lane, some);
}

}  // namespace eg4d::cuda
