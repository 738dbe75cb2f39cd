// Every cell's list of pairs: room for as many as were counted, then the pairs in any order, then each list
// by depth. Which list lies where, and which pair in which slot, is a matter of chance and decides nothing:
// lists are in order, and a Gaussian adds up its own slots in theirs.

#include "backend/cuda/check.h"
#include "backend/cuda/ellipse_cells.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr uint32_t kWarpList = 64;  // pairs that a warp sorts; the block takes longer lists together

// One cell a thread: its list gets its place, and cell_size becomes where its next pair goes.
__global__ void __launch_bounds__(kThreads) place_kernel(int cells, RasterizerWorkspace w) {
  __shared__ uint32_t warp_sizes[kWarps], warp_longest[kWarps], first;
  const int cell = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const uint32_t size = cell < cells ? w.cell_size[cell] : 0;
  uint32_t end = size;
  for (int step = 1; step < kWarp; step *= 2) {
    const uint32_t before = __shfl_up_sync(kAllLanes, end, step);
    if (lane >= step) end += before;
  }
  uint32_t longest = size;
  for (int step = kWarp / 2; step > 0; step /= 2)
    longest = max(longest, __shfl_xor_sync(kAllLanes, longest, step));
  if (lane == kWarp - 1) {
    warp_sizes[warp] = end;
    warp_longest[warp] = longest;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    uint32_t all = 0;
    for (int k = 0; k < kWarps; ++k) {
      all += warp_sizes[k];
      longest = max(longest, warp_longest[k]);
    }
    first = all > 0 ? atomicAdd(&w.totals->listed, all) : 0;
    if (longest > 0) atomicMax(&w.totals->longest, longest);
  }
  __syncthreads();
  if (cell >= cells) return;
  uint32_t begin = first + end - size;
  for (int other = 0; other < warp; ++other) begin += warp_sizes[other];
  w.cell_range[cell] = make_uint2(begin, begin + size);
  w.cell_size[cell] = begin;
}

__device__ bool overflows(const RasterizerWorkspace& w) {
  return w.totals->pairs > static_cast<unsigned long long>(w.size.pair_capacity);
}

__global__ void __launch_bounds__(kThreads) fill_kernel(int count, int columns, RasterizerWorkspace w) {
  if (overflows(w)) return;
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  uint32_t pairs = 0, slot = 0, depth = 0;
  if (i < count) {
    pairs = w.cell_count[i];
    slot = w.first_slot[i];
    depth = w.depth[i];
  }
  const auto write = [&](uint32_t at, uint32_t gaussian, uint32_t of_depth, uint32_t own_slot) {
    w.key[at] = uint64_t{of_depth} << 32 | gaussian;
    w.slot_scratch[at] = own_slot;
  };
  const auto one = [&](uint32_t gaussian, uint32_t own_slot, uint32_t cell) {
    write(atomicAdd(&w.cell_size[cell], 1u), gaussian, w.depth[gaussian], own_slot);
  };
  // Several at a time: each has to wait for its place.
  const auto row = [&](uint32_t gaussian, uint32_t first, uint32_t cell, int size) {
    constexpr int kTogether = 4;
    for (int k = 0; k < size; k += kTogether) {
      uint32_t at[kTogether];
#pragma unroll
      for (int j = 0; j < kTogether; ++j)
        if (k + j < size) at[j] = atomicAdd(&w.cell_size[cell + k + j], 1u);
#pragma unroll
      for (int j = 0; j < kTogether; ++j)
        if (k + j < size) write(at[j], gaussian, depth, first + k + j);
    }
  };
  for_each_cell(w, columns, static_cast<uint32_t>(i), slot, pairs, static_cast<int>(threadIdx.x) % kWarp, row,
                one);
}

// How many of some keys come before `own`.
__device__ uint32_t count_before(const uint64_t* keys, uint32_t size, uint64_t own) {
  uint32_t before = 0;
#pragma unroll 8
  for (uint32_t k = 0; k < size; ++k) before += keys[k] < own;
  return before;
}

__device__ void put(const RasterizerWorkspace& w, uint32_t from, uint64_t key, uint32_t to) {
  w.gaussian[to] = static_cast<uint32_t>(key);
  w.slot[to] = w.slot_scratch[from];
}

// A list that is short enough for a warp.
__device__ void sort_short(const RasterizerWorkspace& w, const uint2& range, uint64_t* keys, int lane) {
  const uint32_t size = range.y - range.x;
  for (uint32_t k = lane; k < size; k += kWarp) keys[k] = w.key[range.x + k];
  __syncwarp();
  for (uint32_t k = lane; k < size; k += kWarp)
    put(w, range.x + k, keys[k], range.x + count_before(keys, size, keys[k]));
}

// A list of any length; all threads of the block call it. Beyond kLongList keys they pass through shared
// memory again and again.
__device__ void sort_long(const RasterizerWorkspace& w, const uint2& range, uint64_t* keys) {
  const uint32_t size = range.y - range.x;
  for (uint32_t base = 0; base < size; base += kThreads) {
    const uint32_t own = base + threadIdx.x;
    const uint64_t key = own < size ? w.key[range.x + own] : 0;
    uint32_t before = 0;
    for (uint32_t first = 0; first < size; first += kLongList) {
      const uint32_t some = min(size - first, kLongList);
      if (base == 0 || size > kLongList) {
        __syncthreads();
        for (uint32_t k = threadIdx.x; k < some; k += kThreads) keys[k] = w.key[range.x + first + k];
        __syncthreads();
      }
      if (own < size) before += count_before(keys, some, key);
    }
    if (own < size) put(w, range.x + own, key, range.x + before);
  }
}

// A warp takes a cell; neighbours, whose lists are alike, are in different blocks.
__global__ void __launch_bounds__(kThreads) sort_kernel(int cells, RasterizerWorkspace w) {
  __shared__ uint64_t keys[kLongList];
  __shared__ uint2 ranges[kWarps];
  static_assert(kWarps * kWarpList <= kLongList);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int cell = warp * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  const bool overflow = overflows(w);
  if (blockIdx.x == 0 && threadIdx.x == 0)
    *w.counts = {static_cast<uint32_t>(min(w.totals->pairs, 0xffffffffull)), overflow ? 1u : 0u};
  uint2 range = make_uint2(0, 0);
  if (cell < cells && !overflow) range = w.cell_range[cell];
  if (cell < cells && overflow && lane == 0) w.cell_range[cell] = range;
  const bool is_short = range.y - range.x <= kWarpList;
  if (is_short) sort_short(w, range, keys + warp * kWarpList, lane);
  if (lane == 0) ranges[warp] = range;
  if (!__syncthreads_or(!is_short)) return;
  for (int other = 0; other < kWarps; ++other)
    if (ranges[other].y - ranges[other].x > kWarpList) sort_long(w, ranges[other], keys);
}

int cells_of(const RasterizerWorkspace& w) {
  return cells_along(w.size.width, kCellWidth) * cells_along(w.size.height, kCellHeight);
}

}  // namespace

void place_lists(const RasterizerWorkspace& w, cudaStream_t stream) {
  const int cells = cells_of(w);
  place_kernel<<<blocks_for(cells, kThreads), kThreads, 0, stream>>>(cells, w);
  check_launch("counting pairs of cell and Gaussian");
}

void fill_lists(int64_t count, const RasterizerWorkspace& w, cudaStream_t stream) {
  const int cells = cells_of(w), columns = cells_along(w.size.width, kCellWidth);
  fill_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream>>>(static_cast<int>(count), columns, w);
  sort_kernel<<<blocks_for(cells, kWarps), kThreads, 0, stream>>>(cells, w);
  check_launch("listing pairs of cell and Gaussian");
}

}  // namespace eg4d::cuda
