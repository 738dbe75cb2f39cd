#pragma once

#include <cstdint>
#include <vector>

#include "backend/cuda/rasterizer.h"
#include "cuda/support/device.h"
#include "support/raster_scenes.h"

namespace eg4d::test {

// A scene in a GPU's memory with everything a forward and a backward pass of the kernels takes.
class CudaRaster {
 public:
  // A capacity of 0 pairs: as many as the scene needs, found by a pass that overflows.
  explicit CudaRaster(const RasterScene<float>& scene, int64_t pair_capacity = 0);

  // Fills the outputs. Makes room for more pairs when they do not fit, unless a capacity was given.
  void forward();
  // Fills the gradients with those of one backward pass.
  void backward(const std::vector<float>& d_image);
  RasterGradients<float> gradients() const;
  cuda::RasterizerCounts counts() const;
  cuda::RasterizerTotals totals() const;
  // How the next passes make their lists.
  void use_long_lists(bool use) { workspace.size.long_lists = use; }

  // For timing: these only enqueue; backward adds to the gradients.
  void enqueue_forward(cudaStream_t stream);
  void prepare_backward(const std::vector<float>& d_image);
  void enqueue_backward(cudaStream_t stream);

  RasterizeForward arguments;
  DeviceBuffer<float> image, depth, alpha;
  DeviceBuffer<int32_t> radii;
  cuda::RasterizerWorkspace workspace{};

 private:
  void make_workspace(int64_t pair_capacity);

  int64_t given_capacity_;
  RasterizeBackward backward_;
  DeviceBuffer<RasterizeCamera> camera_;
  DeviceBuffer<float> means_, scales_, rotations_, opacities_, colors_, d_image_;
  DeviceBuffer<float> d_means_, d_scales_, d_rotations_, d_opacities_, d_colors_, d_means_ndc_;
  DeviceBuffer<uint8_t> memory_, pair_memory_;
};

}  // namespace eg4d::test
