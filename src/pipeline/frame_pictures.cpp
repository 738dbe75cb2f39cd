#include "pipeline/frame_pictures.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

namespace eg4d {
namespace {

constexpr float kCovered = 0.5f;

// Depths of covered pixels. The rasteriser's depth is a sum weighted by what each Gaussian covers; divided by
// the covered share it is a distance along the line of sight.
class Surface {
 public:
  Surface(const Renderer::View& view, const Camera& camera)
      : depth_(view.depth.to_host()),
        alpha_(view.alpha.to_host()),
        width_(static_cast<int>(view.depth.dim(1))),
        height_(static_cast<int>(view.depth.dim(0))) {
    // p_clip = p_view · projection for row vectors; pixel = ((clip/w + 1) · size - 1) / 2.
    const float* p = camera.projection;
    x_scale_ = 2 / (p[0] * static_cast<float>(width_));
    x_offset_ = (1 / static_cast<float>(width_) - 1 - p[8]) / p[0];
    y_scale_ = 2 / (p[5] * static_cast<float>(height_));
    y_offset_ = (1 / static_cast<float>(height_) - 1 - p[9]) / p[5];
  }

  // In the camera's axes (x right, y down, z forward).
  using Point = std::array<float, 3>;
  std::optional<Point> at(int x, int y) const {
    if (x < 0 || y < 0 || x >= width_ || y >= height_) return std::nullopt;
    const size_t i = static_cast<size_t>(y) * static_cast<size_t>(width_) + static_cast<size_t>(x);
    if (!(alpha_[i] >= kCovered)) return std::nullopt;
    const float z = depth_[i] / alpha_[i];
    return Point{z * (x_scale_ * static_cast<float>(x) + x_offset_),
                 z * (y_scale_ * static_cast<float>(y) + y_offset_), z};
  }
  // The surface's slope along one axis: towards the neighbour whose depth is nearer, which is not across an
  // edge.
  std::optional<Point> slope(int x, int y, int dx, int dy) const {
    const auto here = at(x, y), before = at(x - dx, y - dy), after = at(x + dx, y + dy);
    const auto step = [](const Point& from, const Point& to) {
      return Point{to[0] - from[0], to[1] - from[1], to[2] - from[2]};
    };
    std::optional<Point> result;
    if (before) result = step(*before, *here);
    if (after) {
      const Point forward = step(*here, *after);
      if (!result || std::abs(forward[2]) < std::abs((*result)[2])) result = forward;
    }
    return result;
  }
  int width() const { return width_; }
  int height() const { return height_; }

 private:
  const std::vector<float> depth_, alpha_;
  const int width_, height_;
  float x_scale_, x_offset_, y_scale_, y_offset_;
};

uint8_t unit_to_byte(float value) {
  return static_cast<uint8_t>(value > 0 ? std::lround(std::min(value, 1.0f) * 255) : 0);  // NaN becomes 0
}

}  // namespace

Picture transparent_picture(const Renderer::View& view) {
  const std::vector<float> image = view.image.to_host(), alpha = view.alpha.to_host();
  Picture picture(static_cast<int>(view.image.dim(1)), static_cast<int>(view.image.dim(0)), 4);
  for (size_t i = 0; i < alpha.size(); ++i) {
    const uint8_t covered = unit_to_byte(alpha[i]);
    if (covered == 0) continue;
    for (size_t c = 0; c < 3; ++c) picture.data[4 * i + c] = unit_to_byte(image[3 * i + c] / alpha[i]);
    picture.data[4 * i + 3] = covered;
  }
  return picture;
}

DepthRange depth_range(const std::vector<Shot>& shots, const Gaussians& gaussians) {
  const std::vector<float> positions = gaussians.positions.to_host();
  const auto length = [](const float* p, const double* from) {
    return std::hypot(p[0] - from[0], p[1] - from[1], p[2] - from[2]);
  };
  double center[3] = {};
  const double count = std::max(1.0, static_cast<double>(gaussians.count()));
  for (size_t i = 0; i < positions.size(); ++i) center[i % 3] += positions[i] / count;
  std::vector<double> radii;
  for (size_t i = 0; i + 2 < positions.size(); i += 3) radii.push_back(length(&positions[i], center));
  double radius = 1;
  if (!radii.empty()) {
    const auto most = radii.begin() + static_cast<ptrdiff_t>(radii.size() * 98 / 100);
    std::nth_element(radii.begin(), most, radii.end());
    radius = *most;
  }
  double nearest = INFINITY, farthest = 0;
  for (const Shot& shot : shots) {
    const double distance = length(shot.camera.center, center);
    nearest = std::min(nearest, distance);
    farthest = std::max(farthest, distance);
  }
  return {static_cast<float>(std::max(0.2, nearest - radius)), static_cast<float>(farthest + radius)};
}

Picture depth_picture(const Renderer::View& view, DepthRange range, bool transparent) {
  const std::vector<float> depth = view.depth.to_host(), alpha = view.alpha.to_host();
  const int channels = transparent ? 4 : 3;
  Picture picture(static_cast<int>(view.depth.dim(1)), static_cast<int>(view.depth.dim(0)), channels);
  for (size_t i = 0; i < depth.size(); ++i) {
    if (alpha[i] < kCovered) continue;
    const float share = (range.far - depth[i] / alpha[i]) / std::max(range.far - range.near, 1e-6f);
    const float grey = 25 + 230 * share;
    uint8_t* to = &picture.data[i * static_cast<size_t>(channels)];
    std::fill_n(to, 3, static_cast<uint8_t>(grey > 1 ? std::min(grey, 255.0f) : 1));  // NaN becomes 1
    if (transparent) to[3] = 255;
  }
  return picture;
}

Picture normal_picture(const Renderer::View& view, const Camera& camera, bool transparent) {
  const Surface surface(view, camera);
  const int channels = transparent ? 4 : 3;
  Picture picture(surface.width(), surface.height(), channels);
  for (int y = 0; y < picture.height; ++y)
    for (int x = 0; x < picture.width; ++x) {
      if (!surface.at(x, y)) continue;
      const auto right = surface.slope(x, y, 1, 0), down = surface.slope(x, y, 0, 1);
      if (!right || !down) continue;
      const auto& a = *right;
      const auto& b = *down;
      // right × down points forward, into the surface.
      const float n[3] = {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
      const float length = std::hypot(n[0], n[1], n[2]);
      if (!(length > 0)) continue;
      uint8_t* to =
          &picture
               .data[(static_cast<size_t>(y) * static_cast<size_t>(picture.width) + static_cast<size_t>(x)) *
                     static_cast<size_t>(channels)];
      to[0] = unit_to_byte(0.5f - 0.5f * n[0] / length);
      to[1] = unit_to_byte(0.5f + 0.5f * n[1] / length);
      to[2] = unit_to_byte(0.5f + 0.5f * n[2] / length);
      if (transparent) to[3] = 255;
    }
  return picture;
}

Picture box_average(const Picture& picture, int factor) {
  if (factor == 1) return picture;
  const auto step = static_cast<size_t>(factor), channels = static_cast<size_t>(picture.channels);
  const bool has_alpha = channels == 4;
  Picture small(picture.width / factor, picture.height / factor, picture.channels);
  const auto width = static_cast<size_t>(picture.width), small_width = static_cast<size_t>(small.width);
  for (size_t y = 0; y < static_cast<size_t>(small.height); ++y)
    for (size_t x = 0; x < small_width; ++x) {
      uint64_t sums[4] = {}, weights = 0;
      for (size_t v = 0; v < step; ++v)
        for (size_t u = 0; u < step; ++u) {
          const uint8_t* from = &picture.data[((y * step + v) * width + x * step + u) * channels];
          const uint64_t weight = has_alpha ? from[3] : 1;
          for (size_t c = 0; c < 3; ++c) sums[c] += weight * from[c];
          weights += weight;
        }
      uint8_t* to = &small.data[(y * small_width + x) * channels];
      if (weights == 0) continue;
      for (size_t c = 0; c < 3; ++c) to[c] = static_cast<uint8_t>((sums[c] + weights / 2) / weights);
      if (has_alpha) to[3] = static_cast<uint8_t>((weights + step * step / 2) / (step * step));
    }
  return small;
}

}  // namespace eg4d
