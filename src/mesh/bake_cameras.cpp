// From where a texture's colours are looked at, and how a model is.

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <optional>

#include "mesh/texture_bake.h"
#include "splat/evaluation.h"
#include "splat/renderer.h"

namespace eg4d::mesh {
namespace {

constexpr double kFovX = 0.6;     // radians
constexpr double kMargin = 1.05;  // of the ball around the object

}  // namespace

std::vector<Camera> cameras_around(std::span<const Vec3f> positions, int count, int pixels) {
  Vec3f low{INFINITY, INFINITY, INFINITY}, high{-INFINITY, -INFINITY, -INFINITY};
  for (const Vec3f p : positions) {
    low = {std::min(low.x, p.x), std::min(low.y, p.y), std::min(low.z, p.z)};
    high = {std::max(high.x, p.x), std::max(high.y, p.y), std::max(high.z, p.z)};
  }
  const Vec3f middle = positions.empty() ? Vec3f() : (low + high) * 0.5f;
  double radius = 0;
  for (const Vec3f p : positions) radius = std::max(radius, double{length(p - middle)});
  const double distance = std::max(radius, 1e-3) * kMargin / std::sin(kFovX / 2);
  Intrinsics intrinsics;
  intrinsics.fov_x = kFovX;
  std::vector<Camera> cameras;
  for (int i = 0; i < count; ++i) {
    // A spiral from pole to pole, by the golden angle: even over all directions.
    const double height = 1 - (2.0 * i + 1) / count;
    const double azimuth = 180 * (3 - std::sqrt(5.0)) * i;
    Matrix4 pose = orbit_camera_to_world(azimuth, std::asin(height) * 180 / std::numbers::pi, distance);
    for (int k = 0; k < 3; ++k) pose(k, 3) += double{middle.data()[k]};
    cameras.push_back(make_camera(pose, pixels, pixels, intrinsics));
  }
  return cameras;
}

std::vector<Camera> paper_cameras(double fov_x) {
  constexpr int kPixels = 576;
  Intrinsics intrinsics;
  intrinsics.fov_x = fov_x;
  std::vector<Camera> cameras;
  const auto add = [&](double azimuth, double elevation) {
    cameras.push_back(
        make_camera(orbit_camera_to_world(azimuth, elevation, kOrbitRadius), kPixels, kPixels, intrinsics));
  };
  for (const int elevation : {0, 10, 20, 30, -10, -20, -30, -45, 45})
    for (int azimuth = -180; azimuth < 180; azimuth += 10) add(azimuth, elevation);
  add(0, -89);
  add(0, 89);
  return cameras;
}

SeeObject see_model(Backend& backend, const Model& model) {
  RenderOptions options = render_options(model.info.options);
  for (float& channel : options.background) channel = 0;
  const auto renderer = std::make_shared<Renderer>(backend, options);
  const auto now = std::make_shared<std::optional<float>>();
  return [&model, renderer, now](const Camera& camera, float time) {
    if (*now != time) {
      renderer->deform(model.gaussians, model.active_field(), time, color_time(model.info.options, time),
                       false);
      *now = time;
    }
    const Renderer::View& view = renderer->render(camera);
    return SeenObject{view.image.to_host(), view.depth.to_host(), view.alpha.to_host()};
  };
}

}  // namespace eg4d::mesh
