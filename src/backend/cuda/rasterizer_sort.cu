// The sorts and the running sum, which are CUB's; a file of their own because CUB takes long to compile.

#include <algorithm>
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

#include <thrust/iterator/permutation_iterator.h>

#include "backend/cuda/check.h"
#include "backend/cuda/rasterizer_kernels.cuh"

namespace eg4d::cuda {
namespace {

struct SaturatingSum {
  __host__ __device__ uint32_t operator()(uint32_t a, uint32_t b) const {
    const uint32_t sum = a + b;
    return sum < a ? 0xffffffffu : sum;
  }
};

// The two sorts differ in their arrays alone.
cudaError_t sort(void* temporary, size_t& bytes, const uint32_t* keys, uint32_t* sorted_keys,
                 const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits,
                 cudaStream_t stream) {
  return cub::DeviceRadixSort::SortPairs(temporary, bytes, keys, sorted_keys, values, sorted_values,
                                         static_cast<int>(count), 0, bits, stream);
}

cudaError_t add_up(void* temporary, size_t& bytes, const uint32_t* values, const uint32_t* order,
                   uint32_t* sums, int64_t count, cudaStream_t stream) {
  return cub::DeviceScan::InclusiveScan(temporary, bytes, thrust::make_permutation_iterator(values, order),
                                        sums, SaturatingSum(), static_cast<int>(count), stream);
}

}  // namespace

size_t depth_temporary_bytes(int64_t count) {
  size_t depth = 0, sum = 0;
  check(sort(nullptr, depth, nullptr, nullptr, nullptr, nullptr, count, 32, nullptr), "asking for its sort");
  check(add_up(nullptr, sum, nullptr, nullptr, nullptr, count, nullptr), "asking for its running sum");
  return std::max(depth, sum);
}

size_t cell_temporary_bytes(int64_t pairs) {
  size_t bytes = 0;
  check(sort(nullptr, bytes, nullptr, nullptr, nullptr, nullptr, pairs, 32, nullptr), "asking for its sort");
  return bytes;
}

void sort_by_depth(int64_t count, const RasterizerWorkspace& w, cudaStream_t stream) {
  size_t bytes = w.temporary_bytes;
  check(sort(w.temporary, bytes, w.depth, w.depth_sorted, w.order_scratch, w.order, count, 32, stream),
        "sorting Gaussians by depth");
}

void add_up_pairs(int64_t count, const RasterizerWorkspace& w, cudaStream_t stream) {
  size_t bytes = w.temporary_bytes;
  check(add_up(w.temporary, bytes, w.cell_count, w.order, w.pair_end, count, stream), "numbering pairs");
}

void sort_by_cell(int bits, const RasterizerWorkspace& w, cudaStream_t stream) {
  size_t bytes = w.pair_temporary_bytes;
  check(sort(w.pair_temporary, bytes, w.cell, w.cell_sorted, w.slot_scratch, w.slot, w.size.pair_capacity,
             bits, stream),
        "sorting pairs by cell");
}

}  // namespace eg4d::cuda
