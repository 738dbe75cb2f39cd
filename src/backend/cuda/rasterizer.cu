#include "backend/cuda/rasterizer.h"

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/rasterizer_kernels.cuh"
#include "backend/cuda/splat_kernels.h"

// Splatting of 3D Gaussians: Zwicker et al., "EWA splatting" (2002); Kerbl et al., "3D Gaussian splatting for
// real-time radiance field rendering" (2023).

namespace eg4d::cuda {
namespace {

// Hands out aligned pieces of one block; with a null block it only adds up.
class Pieces {
 public:
  explicit Pieces(void* memory) : begin_(static_cast<char*>(memory)) {}
  template <class T>
  void take(T*& piece, int64_t count) {
    piece = begin_ ? reinterpret_cast<T*>(begin_ + used_) : nullptr;
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  void take(void*& piece, size_t bytes) {
    char* place = nullptr;
    take(place, static_cast<int64_t>(bytes));
    piece = place;
  }
  size_t used() const { return used_; }

 private:
  static constexpr size_t kAlignment = 256;
  char* begin_;
  size_t used_ = 0;
};

int64_t cells_of(const RasterizerSize& size) {
  return int64_t{cells_along(size.width, kCellWidth)} * cells_along(size.height, kCellHeight);
}

RasterizerWorkspace lay_out(const RasterizerSize& size, void* gaussians, void* pairs,
                            RasterizerMemory* bytes) {
  const int64_t n = size.count, capacity = size.pair_capacity, cells = cells_of(size);
  if (n > INT32_MAX || capacity > INT32_MAX || cells >= INT32_MAX / kWarp)
    fail("the picture or the number of Gaussians is too large for the GPU's rasteriser (2^31)");
  RasterizerWorkspace w{};
  w.size = size;
  w.temporary_bytes = depth_temporary_bytes(std::max<int64_t>(n, 1));
  w.pair_temporary_bytes = cell_temporary_bytes(std::max<int64_t>(capacity, 1));
  Pieces first(gaussians);
  first.take(w.counts, 1);
  first.take(w.totals, 1);
  first.take(w.class_size, kLengthClasses);
  first.take(w.cell_size, cells);
  first.take(w.by_length, kLengthClasses * cells);
  first.take(w.gaussians, n);
  first.take(w.ellipses, n);
  first.take(w.boxes, n);
  for (uint32_t** piece :
       {&w.cell_count, &w.first_slot, &w.depth, &w.depth_sorted, &w.order_scratch, &w.order, &w.pair_end})
    first.take(*piece, n);
  first.take(w.cell_range, cells + 1);
  first.take(w.transmittance, cells * kWarp);
  first.take(w.last, cells * kWarp);
  first.take(w.temporary, w.temporary_bytes);
  Pieces second(pairs);
  second.take(w.key, capacity);
  for (uint32_t** piece : {&w.cell, &w.cell_sorted, &w.slot_scratch, &w.slot, &w.owner, &w.gaussian})
    second.take(*piece, capacity);
  second.take(w.partial, capacity * kPartial);
  second.take(w.touched, capacity);
  second.take(w.pair_temporary, w.pair_temporary_bytes);
  *bytes = {first.used(), second.used()};
  return w;
}

// By a kernel: the GPU waits longer before and after clearing memory by itself.
void clear(void* memory, size_t bytes, cudaStream_t stream) {
  const FillBytes fill{memory, 0, bytes};
  fill_bytes({&fill, 1}, stream);
}

}  // namespace

RasterizerMemory rasterizer_workspace_bytes(const RasterizerSize& size) {
  RasterizerMemory bytes;
  lay_out(size, nullptr, nullptr, &bytes);
  return bytes;
}

RasterizerWorkspace make_rasterizer_workspace(const RasterizerSize& size, void* gaussians, void* pairs) {
  RasterizerMemory bytes;
  return lay_out(size, gaussians, pairs, &bytes);
}

void rasterize_count(const RasterizeForward& forward, const RasterizerWorkspace& w, cudaStream_t stream) {
  if (forward.count == 0) return;
  const size_t counters =
      reinterpret_cast<char*>(w.cell_size + cells_of(w.size)) - reinterpret_cast<char*>(w.totals);
  clear(w.totals, counters, stream);
  project(forward, w, stream);
  place_lists(w, stream);
}

void rasterize_draw(const RasterizeForward& forward, const RasterizerWorkspace& w, cudaStream_t stream) {
  if (forward.count > 0 && !w.size.long_lists) {
    fill_lists(forward.count, w, stream);
  } else {
    check(cudaMemsetAsync(w.counts, 0, sizeof(RasterizerCounts), stream), "clearing its counters");
    const size_t ranges = static_cast<size_t>(cells_of(w.size) + 1) * sizeof(uint2);
    check(cudaMemsetAsync(w.cell_range, 0, ranges, stream), "clearing its lists");
    if (forward.count > 0) {
      sort_by_depth(forward.count, w, stream);
      add_up_pairs(forward.count, w, stream);
      list_cells(forward.count, w, stream);
    }
  }
  blend(forward, w, stream);
}

void rasterize_forward(const RasterizeForward& forward, const RasterizerWorkspace& workspace,
                       cudaStream_t stream) {
  rasterize_count(forward, workspace, stream);
  rasterize_draw(forward, workspace, stream);
}

void rasterize_backward(const RasterizeBackward& backward, const RasterizerWorkspace& workspace,
                        cudaStream_t stream) {
  if (backward.forward.count == 0 || workspace.size.pair_capacity == 0) return;
  clear(workspace.touched, static_cast<size_t>(workspace.size.pair_capacity), stream);
  blend_backward(backward, workspace, stream);
  project_backward(backward, workspace, stream);
}

}  // namespace eg4d::cuda
