// Every cell's list of pairs: room for as many as were counted, then the pairs in any order, then each list
// by depth. Which list lies where, and which pair in which slot, is a matter of chance and decides nothing:
// lists are in order, and a Gaussian adds up its own slots in theirs.

#include "backend/cuda/check.h"
#include "backend/cuda/ellipse_cells.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
// Of a list that is being sorted: what a thread has, so what a warp can sort by itself and a block at once.
constexpr int kMostOwn = 8;
constexpr uint32_t kWarpList = kMostOwn * kWarp, kPiece = kMostOwn * kThreads;
constexpr int kSortBlocks = 4;  // on a multiprocessor
constexpr uint32_t kRun = 32;   // keys that are sorted by counting

// Half powers of two, the longest lists first.
__device__ int class_of(uint32_t length) {
  constexpr int kShortest = 4;  // 2^4; shorter ones are the last class
  if (length < 1u << kShortest) return kLengthClasses - 1;
  const int power = 31 - __clz(static_cast<int>(length));
  const int halves = 2 * (power - kShortest) + static_cast<int>(length >> (power - 1) & 1);
  return max(kLengthClasses - 2 - halves, 0);
}

// One cell a thread: its list gets its place, and cell_size becomes where its next pair goes; and the cell is
// dealt to its class.
__global__ void __launch_bounds__(kThreads) place_kernel(int cells, RasterizerWorkspace w) {
  __shared__ uint32_t warp_sizes[kWarps], warp_longest[kWarps], first;
  __shared__ uint32_t of_class[kWarps][kLengthClasses], class_first[kLengthClasses];
  for (int k = static_cast<int>(threadIdx.x); k < kWarps * kLengthClasses; k += kThreads)
    of_class[k / kLengthClasses][k % kLengthClasses] = 0;
  __syncthreads();
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
  const int length_class = cell < cells ? class_of(size) : kLengthClasses;
  const unsigned alike = __match_any_sync(kAllLanes, length_class);
  const auto alike_before = static_cast<uint32_t>(__popc(alike & ((1u << lane) - 1)));
  if (alike_before == 0 && cell < cells) of_class[warp][length_class] = static_cast<uint32_t>(__popc(alike));
  if (lane == kWarp - 1) {
    warp_sizes[warp] = end;
    warp_longest[warp] = longest;
  }
  __syncthreads();
  if (threadIdx.x < kLengthClasses) {
    uint32_t all = 0;
    for (auto& of_warp : of_class) {
      const uint32_t own = of_warp[threadIdx.x];
      of_warp[threadIdx.x] = all;
      all += own;
    }
    class_first[threadIdx.x] = all > 0 ? atomicAdd(&w.class_size[threadIdx.x], all) : 0;
  }
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
  const uint32_t place = class_first[length_class] + of_class[warp][length_class] + alike_before;
  w.by_length[static_cast<int64_t>(length_class) * cells + place] = cell;
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

__device__ void put(const RasterizerWorkspace& w, uint32_t from, uint64_t key, uint32_t to) {
  w.gaussian[to] = static_cast<uint32_t>(key);
  w.slot[to] = w.slot_scratch[from];
}

// Up to kOwn·kSize keys that kSize threads, a warp or a block, sort by merging runs: keys stay with their
// threads, which find how far each moves. What a thread does for one key it does for all of its own before it
// goes on, because each look at shared memory is waited for; so it does it also for those behind the end,
// without effect.
template <int kSize, int kOwn>
class Piece {
 public:
  uint64_t key[kOwn];
  uint32_t to[kOwn];  // where it belongs

  __device__ Piece(uint32_t thread, uint64_t* shared) : keys_(shared), thread_(thread) {}

  __device__ void load(const uint64_t* from, uint32_t size) {
    size_ = size;
    each([&](int k) {
      to[k] = own(k);
      key[k] = own(k) < size ? from[own(k)] : 0;
    });
  }
  __device__ void sort() {
    lay_down();
    uint32_t before[kOwn] = {};
    const uint32_t most = min(size_, kRun);
#pragma unroll 4
    for (uint32_t j = 0; j < most; ++j)
      each([&](int k) {
        const uint32_t other = own(k) / kRun * kRun + j;
        before[k] += (other < size_) & (keys_[other] < key[k]);
      });
    each([&](int k) { to[k] = own(k) / kRun * kRun + before[k]; });
    for (uint32_t run = kRun; run < size_; run *= 2) {
      lay_down();
      // Where the run begins that its own is merged with.
      const auto other = [&](int k) { return (to[k] & ~(run - 1)) ^ run; };
      uint32_t place[kOwn];
      each([&](int k) { place[k] = other(k); });
      look_up(run, size_, place);
      each([&](int k) { to[k] = (to[k] & ~run) + (place[k] - other(k)); });
    }
  }
  // Adds to where keys belong how many keys of another sorted piece are below them.
  __device__ void pass(const uint64_t* others, uint32_t size) {
    wait();
    each([&](int k) {
      if (own(k) < size) keys_[own(k)] = others[own(k)];
    });
    wait();
    uint32_t place[kOwn] = {};
    look_up(kSize * kOwn, size, place);
    each([&](int k) { to[k] += place[k]; });
  }
  // work(k, i) for those that are there: the thread's k-th is the i-th.
  template <class Work>
  __device__ void each_there(const Work& work) const {
    each([&](int k) {
      if (own(k) < size_) work(k, own(k));
    });
  }

 private:
  template <class Work>
  __device__ static void each(const Work& work) {
#pragma unroll
    for (int k = 0; k < kOwn; ++k) work(k);
  }
  __device__ static void wait() {
    if constexpr (kSize == kWarp)
      __syncwarp();
    else
      __syncthreads();
  }
  __device__ uint32_t own(int k) const {
    return static_cast<uint32_t>(k * kSize) + thread_;
  }
  __device__ void lay_down() {
    wait();
    each_there([&](int k, uint32_t) { keys_[to[k]] = key[k]; });
    wait();
  }
  // Among sorted keys before `end`: place[k] is where a run of `run` of them, a power of two, begins, and
  // becomes where key[k] would lie.
  __device__ void look_up(uint32_t run, uint32_t end, uint32_t (&place)[kOwn]) const {
    for (uint32_t step = run / 2; step > 0; step /= 2)
      each([&](int k) {
        const uint32_t next = place[k] + step;
        const bool below = keys_[min(next, end) - 1] < key[k];
        if (next <= end && below) place[k] = next;
      });
    each([&](int k) {
      const bool below = keys_[min(place[k], end - 1)] < key[k];
      if (place[k] < end && below) ++place[k];
    });
  }

  uint64_t* const keys_;
  const uint32_t thread_;
  uint32_t size_ = 0;
};

// A list of up to kOwn keys a thread.
template <int kSize, int kOwn>
__device__ void sort_list(uint32_t thread, const RasterizerWorkspace& w, const uint2& range, uint64_t* keys) {
  Piece<kSize, kOwn> piece(thread, keys);
  piece.load(w.key + range.x, range.y - range.x);
  piece.sort();
  piece.each_there([&](int k, uint32_t i) { put(w, range.x + i, piece.key[k], range.x + piece.to[k]); });
}
template <int kSize>
__device__ void sort_list(uint32_t thread, const RasterizerWorkspace& w, const uint2& range, uint64_t* keys) {
  const uint32_t own = (range.y - range.x + kSize - 1) / kSize;
  if (own <= 1)
    sort_list<kSize, 1>(thread, w, range, keys);
  else if (own == 2)
    sort_list<kSize, 2>(thread, w, range, keys);
  else if (own <= 4)
    sort_list<kSize, 4>(thread, w, range, keys);
  else
    sort_list<kSize, kMostOwn>(thread, w, range, keys);
}

// A list of any length: piece by piece in its place; then each key is looked for in the other pieces.
__device__ void sort_pieces(uint32_t thread, const RasterizerWorkspace& w, const uint2& range,
                            uint64_t* keys) {
  const auto size_of = [&](uint32_t first) { return min(range.y - first, kPiece); };
  Piece<kThreads, kMostOwn> piece(thread, keys);
  for (uint32_t first = range.x; first < range.y; first += kPiece) {
    piece.load(w.key + first, size_of(first));
    uint32_t slot[kMostOwn];
    piece.each_there([&](int k, uint32_t i) { slot[k] = w.slot_scratch[first + i]; });
    piece.sort();
    piece.each_there([&](int k, uint32_t) {
      w.key[first + piece.to[k]] = piece.key[k];
      w.slot_scratch[first + piece.to[k]] = slot[k];
    });
  }
  __syncthreads();
  for (uint32_t first = range.x; first < range.y; first += kPiece) {
    piece.load(w.key + first, size_of(first));
    for (uint32_t other = range.x; other < range.y; other += kPiece)
      if (other != first) piece.pass(w.key + other, size_of(other));
    piece.each_there([&](int k, uint32_t i) { put(w, first + i, piece.key[k], range.x + piece.to[k]); });
  }
}

// A warp takes a cell; those whose lists are alike are in different blocks, so that a block has few long
// ones.
__global__ void __launch_bounds__(kThreads, kSortBlocks) sort_kernel(int cells, RasterizerWorkspace w) {
  __shared__ uint64_t keys[kPiece];
  __shared__ uint2 ranges[kWarps];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int cell =
      cell_by_length(w, cells, warp * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x));
  const bool overflow = overflows(w);
  if (blockIdx.x == 0 && threadIdx.x == 0)
    *w.counts = {static_cast<uint32_t>(min(w.totals->pairs, 0xffffffffull)), overflow ? 1u : 0u};
  uint2 range = make_uint2(0, 0);
  if (cell >= 0 && !overflow) range = w.cell_range[cell];
  if (cell >= 0 && overflow && lane == 0) w.cell_range[cell] = range;
  const bool is_short = range.y - range.x <= kWarpList;
  if (is_short) sort_list<kWarp>(static_cast<uint32_t>(lane), w, range, keys + warp * kWarpList);
  if (lane == 0) ranges[warp] = range;
  if (!__syncthreads_or(!is_short)) return;
  for (int other = 0; other < kWarps; ++other) {
    const uint2 of_other = ranges[other];
    const uint32_t size = of_other.y - of_other.x;
    if (size > kPiece)
      sort_pieces(threadIdx.x, w, of_other, keys);
    else if (size > kWarpList)
      sort_list<kThreads>(threadIdx.x, w, of_other, keys);
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
