#include "cuda/support/cuda_raster.h"

#include <algorithm>

namespace eg4d::test {

CudaRaster::CudaRaster(const RasterScene<float>& scene, int64_t pair_capacity)
    : given_capacity_(pair_capacity),
      camera_(std::vector<RasterizeCamera>{scene.camera}),
      means_(scene.means),
      scales_(scene.scales),
      rotations_(scene.rotations),
      opacities_(scene.opacities),
      colors_(scene.colors) {
  const int64_t n = scene.count, pixels = int64_t{scene.width} * scene.height;
  image = DeviceBuffer<float>(3 * pixels);
  depth = DeviceBuffer<float>(pixels);
  alpha = DeviceBuffer<float>(pixels);
  radii = DeviceBuffer<int32_t>(n);
  arguments.width = scene.width;
  arguments.height = scene.height;
  arguments.camera = camera_.data();
  arguments.count = n;
  arguments.means = means_.data();
  arguments.scales = scales_.data();
  arguments.rotations = rotations_.data();
  arguments.opacities = opacities_.data();
  arguments.colors = colors_.data();
  arguments.image = image.data();
  arguments.depth = depth.data();
  arguments.alpha = alpha.data();
  arguments.radii = radii.data();
  make_workspace(pair_capacity);
}

void CudaRaster::make_workspace(int64_t pair_capacity) {
  const cuda::RasterizerSize size{.count = arguments.count,
                                  .width = arguments.width,
                                  .height = arguments.height,
                                  .pair_capacity = pair_capacity,
                                  .long_lists = workspace.size.long_lists};
  const auto [gaussians, pairs] = cuda::rasterizer_workspace_bytes(size);
  memory_ = DeviceBuffer<uint8_t>(static_cast<int64_t>(gaussians));
  pair_memory_ = DeviceBuffer<uint8_t>(static_cast<int64_t>(pairs));
  workspace = cuda::make_rasterizer_workspace(size, memory_.data(), pair_memory_.data());
}

void CudaRaster::enqueue_forward(cudaStream_t stream) {
  cuda::rasterize_forward(arguments, workspace, stream);
}

cuda::RasterizerCounts CudaRaster::counts() const {
  cuda::RasterizerCounts counts{};
  cuda::check(cudaMemcpy(&counts, workspace.counts, sizeof(counts), cudaMemcpyDeviceToHost),
              "copying counts");
  return counts;
}

cuda::RasterizerTotals CudaRaster::totals() const {
  cuda::RasterizerTotals totals{};
  cuda::check(cudaMemcpy(&totals, workspace.totals, sizeof(totals), cudaMemcpyDeviceToHost),
              "copying counts");
  return totals;
}

void CudaRaster::forward() {
  enqueue_forward(nullptr);
  if (counts().overflow == 0 || given_capacity_ > 0) return;
  const int64_t pairs = counts().pairs;
  make_workspace(pairs + pairs / 8 + 1);
  enqueue_forward(nullptr);
}

void CudaRaster::prepare_backward(const std::vector<float>& d_image) {
  const int64_t n = arguments.count;
  d_image_ = DeviceBuffer<float>(d_image);
  backward_.forward = arguments;
  backward_.d_image = d_image_.data();
  const auto gradient = [n](DeviceBuffer<float>& buffer, int64_t width) {
    buffer = DeviceBuffer<float>::zeros(n * width);
    return buffer.data();
  };
  backward_.d_means = gradient(d_means_, 3);
  backward_.d_scales = gradient(d_scales_, 3);
  backward_.d_rotations = gradient(d_rotations_, 4);
  backward_.d_opacities = gradient(d_opacities_, 1);
  backward_.d_colors = gradient(d_colors_, 3);
  backward_.d_means_ndc = gradient(d_means_ndc_, 2);
}

void CudaRaster::enqueue_backward(cudaStream_t stream) {
  cuda::rasterize_backward(backward_, workspace, stream);
}

void CudaRaster::backward(const std::vector<float>& d_image) {
  prepare_backward(d_image);
  enqueue_backward(nullptr);
}

RasterGradients<float> CudaRaster::gradients() const {
  return {d_means_.to_host(),     d_scales_.to_host(), d_rotations_.to_host(),
          d_opacities_.to_host(), d_colors_.to_host(), d_means_ndc_.to_host()};
}

}  // namespace eg4d::test
