// Every cell's list of pairs: room for as many as were counted, then the pairs in any order, then each list
// by depth. Which list lies where, and which pair in which slot, is a matter of chance and decides nothing:
// lists are in order, and a Gaussian adds up its own slots in theirs.

#include "backend/cuda/check.h"
#include "backend/cuda/ellipse_cells.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
// Of a list that is being sorted: what a thread has, so what a warp can sort by itself and a block at once.
constexpr uint32_t kOwn = 8, kWarpList = kOwn * kWarp, kPiece = kOwn * kThreads;
constexpr int kSortBlocks = 4;  // on a multiprocessor
constexpr uint32_t kRun = 32;   // keys that are sorted by counting

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
  // Several at a time: each has to wait for its place.
  const auto some = [&](uint32_t gaussian, uint32_t own_slot, const uint32_t(&cells)[kCellsTogether]) {
    const uint32_t of_depth = w.depth[gaussian];
    uint32_t at[kCellsTogether];
#pragma unroll
    for (int j = 0; j < kCellsTogether; ++j)
      if (cells[j] != kNoCell) at[j] = atomicAdd(&w.cell_size[cells[j]], 1u);
#pragma unroll
    for (int j = 0; j < kCellsTogether; ++j)
      if (cells[j] != kNoCell) write(at[j], gaussian, of_depth, own_slot + j * kWarp);
  };
  const auto row = [&](uint32_t gaussian, uint32_t first, uint32_t cell, int size) {
    for (int k = 0; k < size; k += kCellsTogether) {
      uint32_t at[kCellsTogether];
#pragma unroll
      for (int j = 0; j < kCellsTogether; ++j)
        if (k + j < size) at[j] = atomicAdd(&w.cell_size[cell + k + j], 1u);
#pragma unroll
      for (int j = 0; j < kCellsTogether; ++j)
        if (k + j < size) write(at[j], gaussian, depth, first + k + j);
    }
  };
  for_each_cell(w, columns, static_cast<uint32_t>(i), slot, pairs, static_cast<int>(threadIdx.x) % kWarp, row,
                some);
}

// How many of `size` keys, at most `most`, a power of two, are below `own`; they are in order.
__device__ uint32_t count_below(const uint64_t* keys, uint32_t size, uint32_t most, uint64_t own) {
  uint32_t below = 0;
  for (uint32_t step = most; step > 0; step /= 2)
    if (below + step <= size && keys[below + step - 1] < own) below += step;
  return below;
}

__device__ void put(const RasterizerWorkspace& w, uint32_t from, uint64_t key, uint32_t to) {
  w.gaussian[to] = static_cast<uint32_t>(key);
  w.slot[to] = w.slot_scratch[from];
}

// Threads that sort something together: a warp, or a block.
template <int kSize>
struct Group {
  uint32_t thread;
  __device__ void wait() const {
    if constexpr (kSize == kWarp)
      __syncwarp();
    else
      __syncthreads();
  }
  // work(k, i) for the thread's own of `size` things: its k-th is the i-th.
  template <class Work>
  __device__ void each(uint32_t size, const Work& work) const {
#pragma unroll
    for (uint32_t k = 0; k < kOwn; ++k)
      if (k * kSize + thread < size) work(k, k * kSize + thread);
  }
};

// Keys of a thread, and where in order they belong.
struct Own {
  uint64_t key[kOwn];
  uint32_t to[kOwn];
};

// Sorts by merging runs; keys stay with their threads, which find how far each moves. `keys` is the group's
// shared memory.
template <int kSize>
__device__ Own sort(const Group<kSize>& group, const uint64_t* from, uint32_t size, uint64_t* keys) {
  Own own{};
  const auto lay_down = [&] {
    group.wait();
    group.each(size, [&](uint32_t k, uint32_t) { keys[own.to[k]] = own.key[k]; });
    group.wait();
  };
  group.each(size, [&](uint32_t k, uint32_t i) {
    own.key[k] = from[i];
    own.to[k] = i;
  });
  lay_down();
  group.each(size, [&](uint32_t k, uint32_t i) {
    const uint32_t first = i / kRun * kRun, some = min(size - first, kRun);
    uint32_t before = 0;
#pragma unroll 8
    for (uint32_t j = 0; j < some; ++j) before += keys[first + j] < own.key[k];
    own.to[k] = first + before;
  });
  for (uint32_t run = kRun; run < size; run *= 2) {
    lay_down();
    group.each(size, [&](uint32_t k, uint32_t) {
      const uint32_t other = (own.to[k] / run ^ 1) * run;  // where the run begins that its own is merged with
      const uint32_t below =
          other < size ? count_below(keys + other, min(size - other, run), run, own.key[k]) : 0;
      own.to[k] = (own.to[k] & ~run) + below;
    });
  }
  return own;
}

// A list of up to kOwn keys a thread.
template <int kSize>
__device__ void sort_list(const Group<kSize>& group, const RasterizerWorkspace& w, const uint2& range,
                          uint64_t* keys) {
  const uint32_t size = range.y - range.x;
  const Own own = sort(group, w.key + range.x, size, keys);
  group.each(size, [&](uint32_t k, uint32_t i) { put(w, range.x + i, own.key[k], range.x + own.to[k]); });
}

// A list of any length: piece by piece in its place; then each key is looked for in the other pieces.
__device__ void sort_pieces(const Group<kThreads>& block, const RasterizerWorkspace& w, const uint2& range,
                            uint64_t* keys) {
  const auto size_of = [&](uint32_t first) { return min(range.y - first, kPiece); };
  for (uint32_t first = range.x; first < range.y; first += kPiece) {
    const uint32_t size = size_of(first);
    uint32_t slot[kOwn];
    block.each(size, [&](uint32_t k, uint32_t i) { slot[k] = w.slot_scratch[first + i]; });
    const Own own = sort(block, w.key + first, size, keys);
    block.each(size, [&](uint32_t k, uint32_t) {
      w.key[first + own.to[k]] = own.key[k];
      w.slot_scratch[first + own.to[k]] = slot[k];
    });
  }
  block.wait();
  for (uint32_t first = range.x; first < range.y; first += kPiece) {
    const uint32_t size = size_of(first);
    Own own;
    block.each(size, [&](uint32_t k, uint32_t i) {
      own.key[k] = w.key[first + i];
      own.to[k] = range.x + i;
    });
    for (uint32_t other = range.x; other < range.y; other += kPiece) {
      if (other == first) continue;
      const uint32_t others = size_of(other);
      block.wait();
      block.each(others, [&](uint32_t, uint32_t i) { keys[i] = w.key[other + i]; });
      block.wait();
      block.each(size,
                 [&](uint32_t k, uint32_t) { own.to[k] += count_below(keys, others, kPiece, own.key[k]); });
    }
    block.each(size, [&](uint32_t k, uint32_t i) { put(w, first + i, own.key[k], own.to[k]); });
  }
}

// A warp takes a cell; neighbours, whose lists are alike, are in different blocks.
__global__ void __launch_bounds__(kThreads, kSortBlocks) sort_kernel(int cells, RasterizerWorkspace w) {
  __shared__ uint64_t keys[kPiece];
  __shared__ uint2 ranges[kWarps];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int cell = warp * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  const bool overflow = overflows(w);
  if (blockIdx.x == 0 && threadIdx.x == 0)
    *w.counts = {static_cast<uint32_t>(min(w.totals->pairs, 0xffffffffull)), overflow ? 1u : 0u};
  uint2 range = make_uint2(0, 0);
  if (cell < cells && !overflow) range = w.cell_range[cell];
  if (cell < cells && overflow && lane == 0) w.cell_range[cell] = range;
  const bool is_short = range.y - range.x <= kWarpList;
  if (is_short) sort_list(Group<kWarp>{static_cast<uint32_t>(lane)}, w, range, keys + warp * kWarpList);
  if (lane == 0) ranges[warp] = range;
  if (!__syncthreads_or(!is_short)) return;
  const Group<kThreads> block{threadIdx.x};
  for (int other = 0; other < kWarps; ++other) {
    const uint2 of_other = ranges[other];
    const uint32_t size = of_other.y - of_other.x;
    if (size > kPiece)
      sort_pieces(block, w, of_other, keys);
    else if (size > kWarpList)
      sort_list(block, w, of_other, keys);
  }
}

__global__ void tell_kernel(const RasterizerTotals* totals, RasterizerTotals* host) {
  *host = *totals;
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

void tell_totals(const RasterizerWorkspace& w, RasterizerTotals* host, cudaStream_t stream) {
  tell_kernel<<<1, 1, 0, stream>>>(w.totals, host);
  check_launch("counting pairs of cell and Gaussian");
}

void fill_lists(int64_t count, const RasterizerWorkspace& w, cudaStream_t stream) {
  const int cells = cells_of(w), columns = cells_along(w.size.width, kCellWidth);
  fill_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream>>>(static_cast<int>(count), columns, w);
  sort_kernel<<<blocks_for(cells, kWarps), kThreads, 0, stream>>>(cells, w);
  check_launch("listing pairs of cell and Gaussian");
}

}  // namespace eg4d::cuda
