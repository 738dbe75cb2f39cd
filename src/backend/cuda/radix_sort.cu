#include "backend/cuda/radix_sort.h"

#include "backend/cuda/check.h"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = kRadix, kWarps = kThreads / 32, kOwn = 8;  // items of a thread
constexpr uint32_t kTile = kThreads * kOwn;
constexpr unsigned kAllLanes = 0xffffffffu;
// A state: whether it holds how often the digit is in the tile, or in it and all before.
constexpr uint32_t kOwnCount = 1u << 30, kAllCounts = 2u << 30, kCount = kOwnCount - 1;
constexpr int kLookedAt = 8;  // states at a time

uint32_t tiles_of(uint32_t count) {
  return (count + kTile - 1) / kTile;
}

struct Shared {
  uint32_t counts[kWarps][kRadix];  // of each warp's digits; then where they begin in the tile
  uint32_t sums[kWarps];
  uint32_t to[kRadix];  // place of the tile's first item of a digit, less its place in the tile
  uint32_t keys[kTile], items[kTile];
  uint32_t tile;
};

// Sum over the threads before; all threads call it.
__device__ uint32_t sum_before(Shared& shared, uint32_t own) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  uint32_t end = own;
  for (int step = 1; step < 32; step *= 2) {
    const uint32_t before = __shfl_up_sync(kAllLanes, end, step);
    if (lane >= step) end += before;
  }
  __syncthreads();
  if (lane == 31) shared.sums[warp] = end;
  __syncthreads();
  uint32_t sum = end - own;
  for (int other = 0; other < warp; ++other) sum += shared.sums[other];
  return sum;
}

// How often the thread's digit is in the tiles before; the tile's own count is published on the way.
__device__ uint32_t look_back(uint32_t* states, uint32_t tile, uint32_t own) {
  volatile uint32_t* const state = states + threadIdx.x;
  if (tile == 0) {
    state[0] = own | kAllCounts;
    return 0;
  }
  state[tile * kRadix] = own | kOwnCount;
  uint32_t sum = 0;
  bool found = false;
  for (uint32_t next = tile; !found;) {  // the one before `next` is looked at; tile 0 always ends it
    uint32_t seen[kLookedAt];
#pragma unroll
    for (uint32_t k = 0; k < kLookedAt; ++k) seen[k] = k < next ? state[(next - 1 - k) * kRadix] : 0;
#pragma unroll
    for (uint32_t k = 0; k < kLookedAt; ++k) {
      if (found || k >= next) continue;
      while (seen[k] == 0) seen[k] = state[(next - 1 - k) * kRadix];
      sum += seen[k] & kCount;
      found = (seen[k] & kAllCounts) != 0;
    }
    next -= min(next, static_cast<uint32_t>(kLookedAt));
  }
  state[tile * kRadix] = (sum + own) | kAllCounts;
  return sum;
}

__global__ void __launch_bounds__(kThreads) pass_kernel(const __grid_constant__ RadixSort s, int digit) {
  __shared__ Shared shared;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const uint32_t tiles = gridDim.x;
  if (threadIdx.x == 0) shared.tile = atomicAdd(&s.tickets[digit], 1u);  // those before are at work
  for (int k = 0; k < kWarps; ++k) shared.counts[k][threadIdx.x] = 0;
  __syncthreads();
  const uint32_t tile = shared.tile, first = tile * kTile, size = min(s.count - first, kTile);
  const uint32_t* const keys = (digit % 2 == 0 ? s.keys[0] : s.keys[1]) + first;
  const uint32_t* const items = (digit % 2 == 0 ? s.items[0] : s.items[1]) + first;
  uint32_t key[kOwn], item[kOwn], rank[kOwn];
  const auto place = [&](int k) { return static_cast<uint32_t>((warp * kOwn + k) * 32 + lane); };
  const auto digit_of = [&](uint32_t of) { return of >> (digit * kRadixBits) & (kRadix - 1); };
#pragma unroll
  for (int k = 0; k < kOwn; ++k) {
    key[k] = place(k) < size ? keys[place(k)] : 0;
    item[k] = place(k) < size ? items[place(k)] : 0;
  }
  uint32_t* const counts = shared.counts[warp];
#pragma unroll
  for (int k = 0; k < kOwn; ++k) {
    const bool there = place(k) < size;
    const uint32_t own = there ? digit_of(key[k]) : kRadix;
    const unsigned same = __match_any_sync(kAllLanes, own);
    const uint32_t before = there ? counts[own] : 0;
    __syncwarp();
    rank[k] = before + static_cast<uint32_t>(__popc(same & ((1u << lane) - 1)));
    if (there && lane == __ffs(static_cast<int>(same)) - 1)
      counts[own] = before + static_cast<uint32_t>(__popc(same));
    __syncwarp();
  }
  __syncthreads();
  uint32_t own = 0;  // of the thread's digit
  for (int k = 0; k < kWarps; ++k) {
    const uint32_t of_warp = shared.counts[k][threadIdx.x];
    shared.counts[k][threadIdx.x] = own;
    own += of_warp;
  }
  const uint32_t in_tile = sum_before(shared, own);
  const uint32_t begin = sum_before(shared, s.histogram[digit * kRadix + threadIdx.x]);
  const uint32_t before = look_back(s.states + int64_t{digit} * tiles * kRadix, tile, own);
  shared.to[threadIdx.x] = begin + before - in_tile;
  for (int k = 0; k < kWarps; ++k) shared.counts[k][threadIdx.x] += in_tile;
  __syncthreads();
#pragma unroll
  for (int k = 0; k < kOwn; ++k) {
    if (place(k) >= size) continue;
    const uint32_t to = counts[digit_of(key[k])] + rank[k];
    shared.keys[to] = key[k];
    shared.items[to] = item[k];
  }
  __syncthreads();
  uint32_t* const keys_out = digit % 2 == 0 ? s.keys[1] : s.keys[0];
  uint32_t* const items_out = digit % 2 == 0 ? s.items[1] : s.items[0];
  for (uint32_t k = threadIdx.x; k < size; k += kThreads) {
    const uint32_t to = shared.to[digit_of(shared.keys[k])] + k;
    keys_out[to] = shared.keys[k];
    items_out[to] = shared.items[k];
  }
}

}  // namespace

int64_t radix_sort_words(uint32_t count, int digits) {
  return kMostDigits * (kRadix + 1) + int64_t{digits} * tiles_of(count) * kRadix;
}

void place_radix_sort(RadixSort& sort, uint32_t* words) {
  sort.histogram = words;
  sort.tickets = words + kMostDigits * kRadix;
  sort.states = sort.tickets + kMostDigits;
}

void radix_sort(const RadixSort& sort, cudaStream_t stream) {
  if (sort.count == 0) return;
  for (int digit = 0; digit < sort.digits; ++digit)
    pass_kernel<<<tiles_of(sort.count), kThreads, 0, stream>>>(sort, digit);
  check_launch("sorting");
}

}  // namespace eg4d::cuda
