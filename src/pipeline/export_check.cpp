#include "pipeline/export_check.h"

#include <algorithm>

#include "scene/camera.h"
#include "splat/evaluation.h"

namespace eg4d {
namespace {

constexpr int kViews = 6, kMostPixels = 512;

std::vector<Camera> cameras_around(const ModelInfo& info) {
  Intrinsics intrinsics;
  intrinsics.fov_x = info.fov_x;
  std::vector<Camera> cameras;
  for (int i = 0; i < kViews; ++i)
    cameras.push_back(make_camera(
        orbit_camera_to_world(360.0 / kViews * i, 10.0 * i - 10, info.camera_radius),
        std::clamp(info.width, 1, kMostPixels), std::clamp(info.height, 1, kMostPixels), intrinsics));
  return cameras;
}

}  // namespace

double psnr_beside_model(Backend& backend, const Model& model, float time, const GaussianCloud& cloud) {
  const ReconstructOptions& options = model.info.options;
  const Gaussians plain = from_cloud(backend, cloud);
  Renderer expected(backend, render_options(options)), found(backend, render_options(options));
  expected.deform(model.gaussians, model.active_field(), time, color_time(options, time), false);
  found.deform(plain, nullptr, 0.f, 0.f, false);
  double squares = 0, values = 0;
  for (const Camera& camera : cameras_around(model.info)) {
    const std::vector<float> a = expected.render(camera).image.to_host();
    const std::vector<float> b = found.render(camera).image.to_host();
    for (size_t i = 0; i < a.size(); ++i) {
      const double difference = std::clamp(a[i], 0.f, 1.f) - std::clamp(b[i], 0.f, 1.f);
      squares += difference * difference;
    }
    values += static_cast<double>(a.size());
  }
  return std::min(psnr_of(squares / values), 100.0);
}

}  // namespace eg4d
