#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "nn/tensor.h"
#include "support/reference_rasterizer.h"

namespace eg4d::test {

// The benchmark scene: Gaussians on and in twelve balls inside a unit cube, seen from an orbit of radius 4 on
// white. 75% lie on the surfaces (radius ± 2%), the rest in the volumes; scale = median·exp(0.55·n +
// 0.45·n₃), opacity = sigmoid(0.3 + 2n), color = 0.5 + 0.35·sin(9·position + channel) + 0.1·n₃, clamped to
// [0,1].
RasterScene<float> ball_scene(int64_t count, float median_scale, int width, int height, uint64_t seed = 1);

// The same scene from a file with means, scales, quats_wxyz, opacities, colors, viewmat (column vectors) and
// K.
RasterScene<float> scene_from_file(const std::string& path, int width, int height);

// Gaussians of all sizes and shapes in front of, beside and behind the camera at the origin that looks along
// +z.
RasterScene<float> scattered_scene(int64_t count, int width, int height, uint64_t seed);

template <class T>
RasterScene<T> converted(const RasterScene<float>& scene);

// A scene in device memory with everything a forward and a backward pass of the kernels takes.
class DeviceRaster {
 public:
  DeviceRaster(Backend& backend, const RasterScene<float>& scene);
  void forward();
  // Fills the gradients with those of one backward pass. In two steps for timing: run_backward only adds.
  void backward(const std::vector<float>& d_image);

  void prepare_backward(const std::vector<float>& d_image);
  void run_backward();

  RasterizeForward arguments;
  std::unique_ptr<RasterizeContext> context;
  Tensor image, depth, alpha, radii;
  Tensor d_means, d_scales, d_rotations, d_opacities, d_colors, d_means_ndc;
  RasterGradients<float> gradients() const;

 private:
  Backend& backend_;
  RasterizeBackward backward_;
  Tensor d_image_, camera_;
  std::vector<Tensor> inputs_;
};

}  // namespace eg4d::test
