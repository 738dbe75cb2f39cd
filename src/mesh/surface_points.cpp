#include "mesh/surface_points.h"

#include <algorithm>
#include <cmath>

namespace eg4d::mesh {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr float kReach = 1;  // texels

struct Nearest {
  float second = 0, third = 0, distance = 0;
};

float dot(Vec2f a, Vec2f b) {
  return a.x * b.x + a.y * b.y;
}

// The nearest point of the side from corner `from`, which `corner` counts from: 0 to 1, 1 to 2, 2 to 0.
Nearest nearest_of_side(Vec2f p, const Vec2f* corners, int from) {
  const Vec2f a = corners[from], b = corners[(from + 1) % 3];
  const Vec2f side{b.x - a.x, b.y - a.y}, offset{p.x - a.x, p.y - a.y};
  const float squared = dot(side, side);
  const float along = squared > 0 ? std::clamp(dot(offset, side) / squared, 0.f, 1.f) : 0;
  const Vec2f away{offset.x - along * side.x, offset.y - along * side.y};
  float weights[3] = {};
  weights[from] = 1 - along;
  weights[(from + 1) % 3] += along;
  return {weights[1], weights[2], std::sqrt(dot(away, away))};
}

Nearest nearest_of_triangle(Vec2f p, const Vec2f* corners) {
  const auto [a, b, c] = std::array{corners[0], corners[1], corners[2]};
  const float area = (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
  if (area != 0) {
    const float second = ((p.x - a.x) * (c.y - a.y) - (p.y - a.y) * (c.x - a.x)) / area;
    const float third = ((b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x)) / area;
    if (second >= 0 && third >= 0 && second + third <= 1) return {second, third, 0};
  }
  Nearest best = nearest_of_side(p, corners, 0);
  for (int from = 1; from < 3; ++from) {
    const Nearest side = nearest_of_side(p, corners, from);
    if (side.distance < best.distance) best = side;
  }
  return best;
}

}  // namespace

SurfacePoints points_of_texels(const TriangleMesh& mesh, int size) {
  const auto side = static_cast<size_t>(size);
  std::vector<SurfacePoint> found(side * side, SurfacePoint{kNone});
  std::vector<float> distances(side * side, kReach);
  const auto scale = static_cast<float>(size), last = scale - 1;
  for (uint32_t t = 0; t < mesh.triangles.size(); ++t) {
    Vec2f corners[3];
    for (size_t k = 0; k < 3; ++k) {
      const Vec2f uv = mesh.uvs[mesh.triangles[t][k]];
      corners[k] = {uv.x * scale - 0.5f, uv.y * scale - 0.5f};
    }
    const auto [low_x, high_x] = std::minmax({corners[0].x, corners[1].x, corners[2].x});
    const auto [low_y, high_y] = std::minmax({corners[0].y, corners[1].y, corners[2].y});
    const auto from = [&](float v) {
      return static_cast<size_t>(std::clamp(std::ceil(v - kReach), 0.f, last));
    };
    const auto to = [&](float v) {
      return static_cast<size_t>(std::clamp(std::floor(v + kReach), 0.f, last));
    };
    for (size_t y = from(low_y); y <= to(high_y); ++y)
      for (size_t x = from(low_x); x <= to(high_x); ++x) {
        const size_t texel = y * side + x;
        if (distances[texel] == 0) continue;
        const Nearest nearest = nearest_of_triangle({static_cast<float>(x), static_cast<float>(y)}, corners);
        if (!(nearest.distance < distances[texel])) continue;
        distances[texel] = nearest.distance;
        found[texel] = {t, nearest.second, nearest.third};
      }
  }
  SurfacePoints result;
  for (size_t texel = 0; texel < found.size(); ++texel) {
    if (found[texel].triangle == kNone) continue;
    result.numbers.push_back(static_cast<uint32_t>(texel));
    result.points.push_back(found[texel]);
  }
  return result;
}

SurfacePoints points_of_positions(const TriangleMesh& mesh) {
  std::vector<SurfacePoint> found(mesh.positions.size(), SurfacePoint{kNone});
  for (uint32_t t = 0; t < mesh.triangles.size(); ++t)
    for (size_t k = 0; k < 3; ++k) found[mesh.triangles[t][k]] = {t, k == 1 ? 1.f : 0.f, k == 2 ? 1.f : 0.f};
  SurfacePoints result;
  for (uint32_t i = 0; i < found.size(); ++i) {
    if (found[i].triangle == kNone) continue;
    result.numbers.push_back(i);
    result.points.push_back(found[i]);
  }
  return result;
}

}  // namespace eg4d::mesh
