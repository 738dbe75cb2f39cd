#include "mesh/best_views.h"

#include <algorithm>
#include <cmath>

#include "core/threads.h"
#include "mesh/depth_buffer.h"

namespace eg4d::mesh {
namespace {

constexpr float kLeastCosine = 0.17f;  // 80 degrees
constexpr float kLeastAlpha = 0.5f;
constexpr float kDepthOff = 0.05f;  // of the radius: how far Gaussians may be before the surface
constexpr float kFarFromMedian = 0.08f;
constexpr float kMost = 65535;

// The smallest depth around a pixel.
float nearest_depth(const std::vector<float>& depth, const Camera& camera, int x, int y) {
  float nearest = INFINITY;
  for (int row = std::max(0, y - 1); row <= std::min(camera.height - 1, y + 1); ++row)
    for (int column = std::max(0, x - 1); column <= std::min(camera.width - 1, x + 1); ++column)
      nearest = std::min(
          nearest,
          depth[static_cast<size_t>(row) * static_cast<size_t>(camera.width) + static_cast<size_t>(column)]);
  return nearest;
}

// Between the middles of four pixels.
struct Bilinear {
  size_t pixels[4];
  float weights[4];

  Bilinear(const Camera& camera, float x, float y) {
    const auto column =
        static_cast<size_t>(std::clamp(std::floor(x), 0.f, static_cast<float>(camera.width - 2)));
    const auto row =
        static_cast<size_t>(std::clamp(std::floor(y), 0.f, static_cast<float>(camera.height - 2)));
    const float right = x - static_cast<float>(column), down = y - static_cast<float>(row);
    const auto width = static_cast<size_t>(camera.width);
    for (size_t k = 0; k < 4; ++k) {
      pixels[k] = (row + k / 2) * width + column + k % 2;
      weights[k] = (k % 2 ? right : 1 - right) * (k / 2 ? down : 1 - down);
    }
  }
  float of(const std::vector<float>& values, size_t channels = 1, size_t channel = 0) const {
    float sum = 0;
    for (size_t k = 0; k < 4; ++k) sum += weights[k] * values[pixels[k] * channels + channel];
    return sum;
  }
};

}  // namespace

BestViews::BestViews(size_t points, int views)
    : views_(static_cast<size_t>(views)), best_(points * views_), counts_(points, 0) {}

void BestViews::add(size_t point, float weight, Vec3f color) {
  const auto rounded = [](float v) {
    return static_cast<uint16_t>(std::lround(std::clamp(v, 0.f, 1.f) * kMost));
  };
  const View view{std::max<uint16_t>(rounded(weight), 1),
                  {rounded(color.x), rounded(color.y), rounded(color.z)}};
  const auto heavier = [](const View& a, const View& b) { return a.weight > b.weight; };
  View* begin = &best_[point * views_];
  uint8_t& count = counts_[point];
  if (count == views_) {
    if (view.weight <= begin->weight) return;
    std::pop_heap(begin, begin + count, heavier);
    begin[count - 1] = view;
  } else {
    begin[count++] = view;
  }
  std::push_heap(begin, begin + count, heavier);
}

void BestViews::look(const Camera& camera, const SeenObject& seen, const std::vector<float>& depth,
                     std::span<const Vec3f> positions, std::span<const Vec3f> normals, float radius) {
  const Vec3f eye{camera.center[0], camera.center[1], camera.center[2]};
  const float pixel_angle =
      2 * static_cast<float>(std::tan(camera.fov_x / 2)) / static_cast<float>(camera.width);
  const auto right = static_cast<float>(camera.width - 1), bottom = static_cast<float>(camera.height - 1);
  parallel_for(static_cast<int64_t>(positions.size()), 4096, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const Vec3f to_eye = normalized(eye - positions[i]);
      const float cosine = dot(to_eye, normals[i]);
      if (!(cosine > kLeastCosine)) continue;
      const Projected at = project(camera, positions[i]);
      if (!(at.z > 0 && at.x >= 0 && at.y >= 0 && at.x <= right && at.y <= bottom)) continue;
      // A surface that is seen askew has other depths in the next pixel; what lies before those is in front.
      const float slant = std::sqrt(1 - std::min(cosine * cosine, 1.f)) / cosine;
      const float tolerance = at.z * pixel_angle * 2 * (1 + slant) + 1e-3f * radius;
      if (nearest_depth(depth, camera, static_cast<int>(std::lround(at.x)),
                        static_cast<int>(std::lround(at.y))) < at.z - tolerance)
        continue;
      const Bilinear around(camera, at.x, at.y);
      const float alpha = around.of(seen.alpha);
      if (!(alpha > kLeastAlpha)) continue;
      if (around.of(seen.depth) / alpha < at.z - tolerance - kDepthOff * radius) continue;
      Vec3f color;
      for (size_t k = 0; k < 3; ++k) color.data()[k] = around.of(seen.colors, 3, k) / alpha;
      if (!std::isfinite(color.x + color.y + color.z)) continue;
      add(i, cosine * cosine * std::min(alpha, 1.f), color);
    }
  });
}

Vec3f BestViews::color(size_t point) const {
  const std::span<const View> views(&best_[point * views_], counts_[point]);
  std::vector<std::pair<uint16_t, uint32_t>> sorted(views.size());
  Vec3f median;
  for (size_t k = 0; k < 3; ++k) {
    uint32_t total = 0;
    for (size_t i = 0; i < views.size(); ++i) {
      sorted[i] = {views[i].color[k], views[i].weight};
      total += views[i].weight;
    }
    std::sort(sorted.begin(), sorted.end());
    uint32_t below = 0;
    for (const auto& [value, weight] : sorted) {
      below += weight;
      if (2 * below < total) continue;
      median.data()[k] = value / kMost;
      break;
    }
  }
  Vec3f sum;
  float weights = 0;
  for (const View& view : views) {
    const Vec3f color = Vec3f{float(view.color[0]), float(view.color[1]), float(view.color[2])} * (1 / kMost);
    const Vec3f off = color - median;
    const float near = 1 / (1 + dot(off, off) / (kFarFromMedian * kFarFromMedian));
    const float weight = view.weight * near * near;
    sum += color * weight;
    weights += weight;
  }
  return sum * (1 / weights);
}

}  // namespace eg4d::mesh
