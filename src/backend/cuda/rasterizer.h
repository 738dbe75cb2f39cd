#pragma once

// Splatting of 3D Gaussians on the GPU: the numbers of backend/cpu/rasterizer*, in another order of work.
//
// forward:  project every Gaussian, and count the pairs of Gaussian and cell (8×4 pixels) that it can reach,
//           exactly → every cell's list of pairs, from front to back → one warp blends one cell
// The lists are made in one of two ways, which give the same: pairs go to their cells' lists in any order,
// and each list is sorted by depth; or, where lists are long, the Gaussians are sorted by depth and the
// pairs, made in that order, by cell.
// backward: one warp goes through its cell from back to front and leaves one partial sum per pair
//           → one thread per Gaussian adds up its partial sums in the order of its cells, then goes back
//           through the projection
//
// Nothing waits for the device. Everything is a fixed order of additions, without atomic ones: the same bits
// from run to run, always. What a Gaussian adds to the image in which order is the CPU's.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "backend/splat_ops.h"

namespace eg4d::cuda {

struct ScreenGaussian;
struct Ellipse;
struct CellBox;

// What a workspace is made for; all of it may be larger than what a pass needs, except the image's size.
struct RasterizerSize {
  int64_t count = 0;          // Gaussians, at most
  int width = 0, height = 0;  // pixels
  int64_t pair_capacity = 0;  // pairs of cell and Gaussian, at most; below 2^31
  bool long_lists = false;    // how lists are made
  bool operator==(const RasterizerSize&) const = default;
};

// What the first part of a forward pass finds.
struct RasterizerTotals {
  unsigned long long pairs;
  uint32_t longest;  // list of a cell
  uint32_t listed;   // pairs whose lists have a place
};

// Whether lists are made quicker by sorting all pairs; both ways take lists of any length. So it is for a
// million Gaussians at 1920×1080 (14.5 million pairs in lists of up to 2500: 1.7 ms instead of 2.9 on an
// H200), not for trained models at 576² (half a million in lists of up to 2900: 0.30 ms a picture instead of
// 0.28). Once it is done so, it is done so until lists are half as long.
inline bool are_long(const RasterizerTotals& totals, bool now) {
  constexpr uint32_t kShort = 1024, kMost = 4096;
  constexpr unsigned long long kManyPairs = 1 << 21;
  const unsigned times = now ? 2 : 1;
  return times * totals.longest > (times * totals.pairs > kManyPairs ? kShort : kMost);
}

// In device memory, of the last forward pass.
struct RasterizerCounts {
  uint32_t pairs;     // that the Gaussians need; 2^32 - 1 stands for all larger numbers too
  uint32_t overflow;  // 1: more than pair_capacity, so the image lacks Gaussians and must be made again
};

// What the kernels keep from one to the next, all of it device memory.
struct RasterizerWorkspace {
  RasterizerSize size;
  RasterizerCounts* counts;
  RasterizerTotals* totals;
  ScreenGaussian* gaussians;        // [N]
  Ellipse* ellipses;                // [N]
  CellBox* boxes;                   // [N] cells that may be reached
  uint32_t* cell_count;             // [N] cells that are reached
  uint32_t* first_slot;             // [N] where the Gaussian's pairs begin in the order Gaussian, cell
  uint32_t* class_size;             // [classes] cells of the class, by the length of lists
  uint32_t* cell_size;              // [cells] pairs; then where the next one goes
  int* by_length;                   // [classes, cells] the cells of each class
  uint32_t *depth, *depth_sorted;   // [N] view z, whose order as an integer is that of the (positive) float
  uint32_t *order_scratch, *order;  // [N] Gaussians from front to back
  uint32_t* pair_end;               // [N] of the k-th in that order: the end of its pairs
  uint64_t* key;                    // [pairs] depth, Gaussian: by cell
  uint32_t *cell, *cell_sorted;     // [pairs] cell of each pair
  uint32_t *slot_scratch, *slot;    // [pairs] place in the order (front to back, cell)
  uint32_t *owner, *gaussian;       // [pairs] Gaussian, by slot and by cell
  uint2* cell_range;                // [cells + 1] begin and end in the sorted pairs
  float* transmittance;             // [cells, 32] at the end
  uint32_t* last;    // [cells, 32] 1 + position of the last Gaussian blended in the cell's list
  float* partial;    // [pairs, 12] by slot
  uint8_t* touched;  // [pairs] by slot: whether the partial sum was written
  void *temporary, *pair_temporary;  // of the sorts
  size_t temporary_bytes, pair_temporary_bytes;
  bool operator==(const RasterizerWorkspace&) const = default;
};

// Bytes of device memory that a workspace takes: for Gaussians and cells, and for pairs.
struct RasterizerMemory {
  size_t gaussians = 0, pairs = 0;
};
RasterizerMemory rasterizer_workspace_bytes(const RasterizerSize& size);
// Lays it out in two blocks of memory, aligned to 256 bytes.
RasterizerWorkspace make_rasterizer_workspace(const RasterizerSize& size, void* gaussians, void* pairs);

// The forward pass in two parts: the first finds how many pairs there are and leaves that at
// *workspace.totals; it uses nothing that depends on the capacity or on how lists are made, so that the
// second may be given a workspace with others, and other memory for pairs.
void rasterize_count(const RasterizeForward& forward, const RasterizerWorkspace& workspace,
                     cudaStream_t stream);
// Copies what the first part found to the host's memory, which the GPU must see: a kernel, since copies make
// what comes before and after them wait.
void tell_totals(const RasterizerWorkspace& workspace, RasterizerTotals* host, cudaStream_t stream);
void rasterize_draw(const RasterizeForward& forward, const RasterizerWorkspace& workspace,
                    cudaStream_t stream);
// Enqueue one pass; forward.context is not looked at. The workspace, made for the picture's size, belongs to
// a pass until its backward pass is done.
void rasterize_forward(const RasterizeForward& forward, const RasterizerWorkspace& workspace,
                       cudaStream_t stream);
void rasterize_backward(const RasterizeBackward& backward, const RasterizerWorkspace& workspace,
                        cudaStream_t stream);

}  // namespace eg4d::cuda
