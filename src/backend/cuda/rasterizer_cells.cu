// Deals the Gaussians out to the cells that they reach: the depth order is found once, over Gaussians; then
// the pairs of cell and Gaussian, made in that order, are sorted by cell, and a stable sort keeps the order.

#include <bit>

#include "backend/cuda/check.h"
#include "backend/cuda/ellipse_cells.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 256;
struct Grid {
  int columns, cells;
};

__device__ void write_pair(const RasterizerWorkspace& w, uint32_t slot, uint32_t cell, uint32_t gaussian) {
  if (slot >= w.size.pair_capacity) return;
  w.cell[slot] = cell;
  w.slot_scratch[slot] = slot;
  w.owner[slot] = gaussian;
}

// A Gaussian's pairs one after the other, row by row.
class PairWalk {
 public:
  __device__ PairWalk(const RasterizerWorkspace& w, uint32_t gaussian)
      : ellipse_(w.ellipses[gaussian]), box_(w.boxes[gaussian]), row_(box_.y0) {}
  // The cell of the next pair, of which there is one.
  __device__ uint32_t next(int columns) {
    while (column_ >= end_ && row_ < box_.y1) {
      const CellRange range = cells_of_row(ellipse_, box_, row_++);
      column_ = range.begin;
      end_ = range.end;
    }
    return static_cast<uint32_t>((row_ - 1) * columns + column_++);
  }

 private:
  Ellipse ellipse_;
  CellBox box_;
  int row_, column_ = 0, end_ = 0;
};

// Of each lane's Gaussian. The lanes find their pairs side by side, but memory wants neighbours together: so
// pairs pass through the warp's window in shared memory, in the order of their slots.
constexpr uint32_t kWindow = 512;
__device__ void write_few(const RasterizerWorkspace& w, const Grid& grid, uint32_t gaussian, uint32_t slot,
                          uint32_t pairs, uint32_t* window, int lane) {
  uint32_t end = pairs;  // where the lane's pairs end among the warp's
  for (int step = 1; step < kWarp; step *= 2) {
    const uint32_t before = __shfl_up_sync(kAllLanes, end, step);
    if (lane >= step) end += before;
  }
  const uint32_t total = __shfl_sync(kAllLanes, end, kWarp - 1), first = end - pairs;
  PairWalk walk(w, gaussian);
  uint32_t at = first;
  for (uint32_t base = 0; base < total; base += kWindow) {
    for (const uint32_t limit = min(end, base + kWindow); at < limit; ++at)
      window[at - base] = walk.next(grid.columns) * kWarp + static_cast<uint32_t>(lane);
    __syncwarp();
    const uint32_t size = min(total - base, kWindow);
    for (uint32_t i = static_cast<uint32_t>(lane); i - static_cast<uint32_t>(lane) < size; i += kWarp) {
      const uint32_t pair = i < size ? window[i] : 0;
      const int from = static_cast<int>(pair % kWarp);
      const uint32_t first_slot = __shfl_sync(kAllLanes, slot - first, from);
      const uint32_t owner = __shfl_sync(kAllLanes, gaussian, from);
      if (i < size) write_pair(w, first_slot + base + i, pair / kWarp, owner);
    }
    __syncwarp();
  }
}

// Thread k: the k-th Gaussian from front to back.
__global__ void __launch_bounds__(kThreads) write_pairs_kernel(int count, Grid grid, RasterizerWorkspace w) {
  __shared__ uint32_t windows[kThreads / kWarp][kWindow];
  const int k = static_cast<int>(blockIdx.x * kThreads + threadIdx.x), lane = k % kWarp;
  const uint32_t capacity = static_cast<uint32_t>(w.size.pair_capacity), total = w.pair_end[count - 1];
  if (k == 0) *w.counts = {total, total > capacity ? 1u : 0u};
  uint32_t gaussian = 0, slot = 0, pairs = 0;
  if (k < count) {
    gaussian = w.order[k];
    slot = k == 0 ? 0 : w.pair_end[k - 1];
    pairs = w.pair_end[k] - slot;
    w.first_slot[gaussian] = min(slot, capacity);
  }
  if (slot >= capacity) pairs = 0;  // there is no room; the caller looks at counts->overflow
  const bool many = pairs > kManyPairs;
  write_few(w, grid, gaussian, slot, many ? 0 : pairs, windows[threadIdx.x / kWarp], lane);
  const auto write_some = [&](uint32_t of, uint32_t first, const uint32_t(&cells)[kCellsTogether]) {
#pragma unroll
    for (int j = 0; j < kCellsTogether; ++j)
      if (cells[j] != kNoCell) write_pair(w, first + j * kWarp, cells[j], of);
  };
  for_all_large(w, grid.columns, gaussian, slot, many, lane, write_some);
  // What is left of the capacity goes behind the last cell.
  const uint32_t threads = gridDim.x * kThreads;
  for (uint32_t rest = total + static_cast<uint32_t>(k); rest >= total && rest < capacity; rest += threads)
    write_pair(w, rest, static_cast<uint32_t>(grid.cells), 0);
}

// Where each cell's pairs begin and end, and their Gaussians. Thread i: the i-th pair.
__global__ void __launch_bounds__(kThreads) find_ranges_kernel(uint32_t cells, RasterizerWorkspace w) {
  const uint32_t i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= w.size.pair_capacity) return;
  const uint32_t cell = w.cell_sorted[i];
  if (cell >= cells) return;
  w.gaussian[i] = w.owner[w.slot[i]];
  if (i == 0 || w.cell_sorted[i - 1] != cell) w.cell_range[cell].x = i;
  if (i + 1 == w.size.pair_capacity || w.cell_sorted[i + 1] != cell) w.cell_range[cell].y = i + 1;
}

}  // namespace

void list_cells(int64_t count, const RasterizerWorkspace& w, cudaStream_t stream) {
  const int columns = cells_along(w.size.width, kCellWidth);
  const Grid grid{columns, columns * cells_along(w.size.height, kCellHeight)};
  write_pairs_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream>>>(static_cast<int>(count), grid, w);
  check_launch("listing pairs of cell and Gaussian");
  if (w.size.pair_capacity == 0) return;
  sort_by_cell(std::bit_width(static_cast<unsigned>(grid.cells)), w, stream);
  find_ranges_kernel<<<blocks_for(w.size.pair_capacity, kThreads), kThreads, 0, stream>>>(
      static_cast<uint32_t>(grid.cells), w);
  check_launch("finding the cells' lists");
}

}  // namespace eg4d::cuda
