#pragma once

// What a forward pass leaves for its backward pass.

#include <cuda_runtime_api.h>

#include "backend/cuda/memory.h"
#include "backend/cuda/rasterizer.h"
#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {

// A forward pass is done in two parts, between which the host learns how many pairs of cell and Gaussian
// there are and makes room for them (docs/gpu.md): prepare, count, then use(a capacity of at least
// totals().pairs) and draw.
class RasterContext final : public RasterizeContext {
 public:
  RasterContext(Memory& memory, cudaStream_t stream);
  ~RasterContext() override;
  RasterContext(const RasterContext&) = delete;
  RasterContext& operator=(const RasterContext&) = delete;

  void reserve(int64_t count, int width, int height) override;

  void prepare(const RasterizeForward& forward) { reserve(forward.count, forward.width, forward.height); }
  // Enqueues the first part; nothing is allocated.
  void count(const RasterizeForward& forward) const;
  // After the first part was enqueued: marks where it ends. Not part of a graph.
  void mark_counted();
  // Waits for the mark.
  RasterizerTotals totals(const RasterizeForward& forward) const;
  // Makes room; from now on workspace() is that of this pass.
  void use(const RasterizeForward& forward, int64_t pair_capacity, bool long_lists);
  // The workspace of such a pass before, since which nothing has moved.
  void use(const RasterizerWorkspace& workspace) { workspace_ = workspace; }
  void draw(const RasterizeForward& forward) const { rasterize_draw(forward, workspace_, stream_); }
  const RasterizerWorkspace& workspace() const { return workspace_; }

 private:
  RasterizerSize size_of(const RasterizeForward& forward, int64_t pair_capacity) const {
    return {.count = room_, .width = forward.width, .height = forward.height, .pair_capacity = pair_capacity};
  }

  Memory& memory_;
  cudaStream_t stream_;
  Block gaussians_, pairs_;
  int64_t room_ = 0;                     // Gaussians
  RasterizerTotals* counted_ = nullptr;  // host memory that the device writes
  cudaEvent_t counted_all_ = nullptr;
  RasterizerWorkspace workspace_{};
};

inline RasterContext& context_of(const RasterizeForward& forward) {
  return static_cast<RasterContext&>(*forward.context);
}

class NetworkContext final : public FieldContext {
 public:
  NetworkContext(Memory& memory, const FieldDescription& of, MatrixPrecision precision)
      : FieldContext(of), precision(precision), activations_(memory) {}
  void reserve(const DeformationNetwork& network) override;
  void* activations() const { return activations_.data(); }

  const MatrixPrecision precision;

 private:
  Block activations_;
};

inline NetworkContext& context_of(const DeformationNetwork& network) {
  return static_cast<NetworkContext&>(*network.context);
}

}  // namespace eg4d::cuda
