#include "mesh/depth_buffer.h"

#include <algorithm>
#include <cmath>

#include "core/threads.h"

namespace eg4d::mesh {
namespace {

constexpr float kNear = 0.01f;
constexpr int kBand = 64;  // rows that one thread works on

// A picture that is being drawn.
struct Target {
  int width;
  std::vector<float> depth;
  std::vector<SurfacePoint>* points;
};

// One triangle in the rows [top, bottom): 1/z is linear on the screen.
void draw(uint32_t triangle, const Projected& a, const Projected& b, const Projected& c, int top, int bottom,
          Target& target) {
  const float area = (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
  if (area == 0 || !std::isfinite(area)) return;
  const auto first = [](float v) { return static_cast<int>(std::ceil(std::clamp(v, -1e6f, 1e6f))); };
  const auto last = [](float v) { return static_cast<int>(std::floor(std::clamp(v, -1e6f, 1e6f))); };
  const int left = std::max(0, first(std::min({a.x, b.x, c.x})));
  const int right = std::min(target.width - 1, last(std::max({a.x, b.x, c.x})));
  const int low = std::max(top, first(std::min({a.y, b.y, c.y})));
  const int high = std::min(bottom - 1, last(std::max({a.y, b.y, c.y})));
  const float scale = 1 / area, za = 1 / a.z, zb = 1 / b.z, zc = 1 / c.z;
  for (int row = low; row <= high; ++row) {
    const auto y = static_cast<float>(row);
    for (int column = left; column <= right; ++column) {
      const auto x = static_cast<float>(column);
      const float wa = ((b.x - x) * (c.y - y) - (b.y - y) * (c.x - x)) * scale;
      const float wb = ((c.x - x) * (a.y - y) - (c.y - y) * (a.x - x)) * scale;
      const float wc = 1 - wa - wb;
      if (wa < 0 || wb < 0 || wc < 0) continue;
      const float z = 1 / (wa * za + wb * zb + wc * zc);
      const auto pixel =
          static_cast<size_t>(row) * static_cast<size_t>(target.width) + static_cast<size_t>(column);
      if (!(z < target.depth[pixel])) continue;
      target.depth[pixel] = z;
      if (target.points) (*target.points)[pixel] = {triangle, wb * zb * z, wc * zc * z};
    }
  }
}

}  // namespace

Projected project(const Camera& camera, Vec3f point) {
  const auto column = [&](const float* m, int k) {
    return point.x * m[k] + point.y * m[4 + k] + point.z * m[8 + k] + m[12 + k];
  };
  const float w = column(camera.full_projection, 3);
  const auto pixel = [&](float clip, int size) {
    return ((clip / w + 1) * static_cast<float>(size) - 1) / 2;
  };
  return {pixel(column(camera.full_projection, 0), camera.width),
          pixel(column(camera.full_projection, 1), camera.height), column(camera.world_to_view, 2)};
}

std::vector<float> depth_buffer(std::span<const Vec3f> positions,
                                const std::vector<std::array<uint32_t, 3>>& triangles, const Camera& camera,
                                std::vector<SurfacePoint>* seen) {
  std::vector<Projected> points(positions.size());
  parallel_for(static_cast<int64_t>(points.size()), 4096, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
      points[i] = project(camera, positions[i]);
  });
  const size_t pixels = static_cast<size_t>(camera.width) * static_cast<size_t>(camera.height);
  Target target{camera.width, std::vector<float>(pixels, INFINITY), seen};
  if (seen) seen->assign(pixels, {});
  parallel_for(camera.height, kBand, [&](int64_t top, int64_t bottom) {
    for (uint32_t t = 0; t < triangles.size(); ++t) {
      const Projected &a = points[triangles[t][0]], &b = points[triangles[t][1]],
                      &c = points[triangles[t][2]];
      if (std::min({a.z, b.z, c.z}) < kNear) continue;
      if (std::max({a.y, b.y, c.y}) < static_cast<float>(top) ||
          std::min({a.y, b.y, c.y}) > static_cast<float>(bottom))
        continue;
      draw(t, a, b, c, static_cast<int>(top), static_cast<int>(bottom), target);
    }
  });
  return std::move(target.depth);
}

}  // namespace eg4d::mesh
