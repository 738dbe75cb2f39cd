#pragma once

#include <cmath>
#include <vector>

#include "mesh/texture_bake.h"
#include "support/test_meshes.h"

// Balls with painted surfaces, seen by rays: what textures are baked from where the truth is known.
namespace eg4d::test {

struct Ball {
  mesh::Vec3f center;
  float radius;
  bool is_blue = false;  // all of it
};

// The colour of a point of a ball's surface.
inline mesh::Vec3f color_of(const Ball& ball, mesh::Vec3f p) {
  if (ball.is_blue) return {0.05f, 0.1f, 0.9f};
  const mesh::Vec3f n = (p - ball.center) * (1 / ball.radius);
  return {0.5f + 0.3f * std::sin(6 * n.x) * std::cos(5 * n.z), 0.4f + 0.3f * std::sin(7 * n.y + 2 * n.z),
          0.2f + 0.1f * n.z};
}

// Four rays a pixel.
inline mesh::SeenObject see_balls(const std::vector<Ball>& balls, const Camera& camera) {
  constexpr int kSide = 2;
  const auto pixels = static_cast<size_t>(camera.width) * static_cast<size_t>(camera.height);
  mesh::SeenObject seen{std::vector<float>(3 * pixels), std::vector<float>(pixels),
                        std::vector<float>(pixels)};
  const float* m = camera.world_to_view;
  const mesh::Vec3f eye{camera.center[0], camera.center[1], camera.center[2]};
  for (size_t pixel = 0; pixel < pixels; ++pixel)
    for (int k = 0; k < kSide * kSide; ++k) {
      const auto width = static_cast<size_t>(camera.width);
      const double across = (static_cast<double>(pixel % width) + (k % kSide + 0.5) / kSide) / camera.width;
      const double down = (static_cast<double>(pixel / width) + (k / kSide + 0.5) / kSide) / camera.height;
      const auto x = static_cast<float>((2 * across - 1) * std::tan(camera.fov_x / 2));
      const auto y = static_cast<float>((2 * down - 1) * std::tan(camera.fov_y / 2));
      const mesh::Vec3f ray{m[0] * x + m[1] * y + m[2], m[4] * x + m[5] * y + m[6],
                            m[8] * x + m[9] * y + m[10]};
      float nearest = INFINITY;
      mesh::Vec3f color;
      for (const Ball& ball : balls) {
        const mesh::Vec3f offset = eye - ball.center;
        const float a = dot(ray, ray), b = dot(ray, offset),
                    c = dot(offset, offset) - ball.radius * ball.radius;
        const float root = b * b - a * c;
        if (root < 0) continue;
        const float z = (-b - std::sqrt(root)) / a;  // the ray's z in the view is 1
        if (!(z > 0 && z < nearest)) continue;
        nearest = z;
        color = color_of(ball, eye + ray * z);
      }
      if (std::isinf(nearest)) continue;
      constexpr float kShare = 1.f / (kSide * kSide);
      seen.alpha[pixel] += kShare;
      seen.depth[pixel] += nearest * kShare;
      for (size_t i = 0; i < 3; ++i) seen.colors[3 * pixel + i] += color.data()[i] * kShare;
    }
  return seen;
}

inline mesh::TriangleMesh mesh_of(const std::vector<Ball>& balls, int columns, int rows) {
  mesh::TriangleMesh mesh;
  for (const Ball& ball : balls) {
    mesh::TriangleMesh sphere = sphere_mesh(columns, rows, ball.radius);
    for (mesh::Vec3f& p : sphere.positions) p += ball.center;
    mesh = joined(std::move(mesh), sphere);
  }
  return mesh;
}

}  // namespace eg4d::test
