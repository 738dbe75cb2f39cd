#include "scene/camera.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace eg4d {
namespace {

constexpr double kNear = 0.01, kFar = 100.0;

// Perspective projection for row vectors; depth is mapped to [0,1], w = view z.
void fill_projection(Camera& camera, const Intrinsics& intrinsics) {
  const float tan_x = static_cast<float>(std::tan(camera.fov_x / 2)),
              tan_y = static_cast<float>(std::tan(camera.fov_y / 2));
  float* p = camera.projection;
  std::fill(p, p + 16, 0.0f);
  p[0] = 1 / tan_x;
  p[5] = 1 / tan_y;
  if (intrinsics.center_x) p[8] = static_cast<float>(2 * *intrinsics.center_x / camera.width - 1);
  if (intrinsics.center_y) p[9] = static_cast<float>(2 * *intrinsics.center_y / camera.height - 1);
  p[10] = static_cast<float>(kFar / (kFar - kNear));
  p[11] = 1;
  p[14] = static_cast<float>(-(kFar * kNear) / (kFar - kNear));
}

void fill_full_projection(Camera& camera) {
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      float sum = 0;
      for (int k = 0; k < 4; ++k) sum += camera.world_to_view[i * 4 + k] * camera.projection[k * 4 + j];
      camera.full_projection[i * 4 + j] = sum;
    }
}

}  // namespace

Camera Camera::resized(int new_width, int new_height) const {
  Camera camera = *this;
  camera.width = new_width;
  camera.height = new_height;
  return camera;
}

RasterizeCamera Camera::rasterize_camera(const float background[3]) const {
  RasterizeCamera camera;
  camera.tan_fov_x = static_cast<float>(std::tan(fov_x / 2));
  camera.tan_fov_y = static_cast<float>(std::tan(fov_y / 2));
  std::copy(world_to_view, world_to_view + 16, camera.world_to_view);
  std::copy(full_projection, full_projection + 16, camera.full_projection);
  std::copy(center, center + 3, camera.center);
  std::copy(background, background + 3, camera.background);
  return camera;
}

Camera make_camera(const Matrix4& camera_to_world, int width, int height, const Intrinsics& intrinsics,
                   VerticalFov rule) {
  Camera camera;
  camera.width = width;
  camera.height = height;
  camera.fov_x = intrinsics.fov_x;
  const double aspect = rule == VerticalFov::from_aspect ? static_cast<double>(height) / width
                                                         : static_cast<double>(width) / height;
  camera.fov_y = intrinsics.fov_y.value_or(2 * std::atan(std::tan(intrinsics.fov_x / 2) * aspect));

  // OpenGL looks along -z with y up; the rasteriser along +z with y down.
  Matrix4 view = inverse(camera_to_world);
  for (int row = 1; row <= 2; ++row)
    for (int column = 0; column < 4; ++column) view(row, column) = -view(row, column);
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) camera.world_to_view[j * 4 + i] = static_cast<float>(view(i, j));
  const Matrix4 back = inverse(view);
  for (int i = 0; i < 3; ++i) camera.center[i] = static_cast<float>(back(i, 3));
  fill_projection(camera, intrinsics);
  fill_full_projection(camera);
  return camera;
}

Matrix4 orbit_camera_to_world(double azimuth, double elevation, double radius) {
  const double a = azimuth * std::numbers::pi / 180, e = elevation * std::numbers::pi / 180;
  // Backward axis (from the origin to the camera), right and up of a camera with z up.
  const double back[3] = {std::cos(e) * std::cos(a), std::cos(e) * std::sin(a), std::sin(e)};
  const double right[3] = {-std::sin(a), std::cos(a), 0};
  const double up[3] = {-std::sin(e) * std::cos(a), -std::sin(e) * std::sin(a), std::cos(e)};
  Matrix4 pose = Matrix4::identity();
  for (int i = 0; i < 3; ++i) {
    pose(i, 0) = right[i];
    pose(i, 1) = up[i];
    pose(i, 2) = back[i];
    pose(i, 3) = radius * back[i];
  }
  return pose;
}

double cameras_extent(const std::vector<Camera>& cameras) {
  if (cameras.empty()) return 0;
  double mean[3] = {};
  for (const Camera& camera : cameras)
    for (int i = 0; i < 3; ++i) mean[i] += camera.center[i] / static_cast<double>(cameras.size());
  double largest = 0;
  for (const Camera& camera : cameras) {
    double squared = 0;
    for (int i = 0; i < 3; ++i) squared += (camera.center[i] - mean[i]) * (camera.center[i] - mean[i]);
    largest = std::max(largest, std::sqrt(squared));
  }
  return 1.1 * largest;
}

}  // namespace eg4d
