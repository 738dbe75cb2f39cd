#include "mesh/ellipsoids.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace eg4d::mesh {
namespace {

constexpr double kOutermost = 0.003;
constexpr float kMargin = 0.15f;   // of the size
constexpr float kMinSize = 1e-6f;  // an object smaller than that is a point

void require_finite(const std::vector<float>& values, size_t width, const char* what) {
  for (size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      throw Error(fmt::format(
          "no surface can be made of this object: Gaussian {} has a {} that is not a finite number",
          i / width, what));
}

// The box of the centres without the outermost 0.3 % on each side, Gaussians counting by their opacity.
Box middle_box(const Ellipsoids& ellipsoids, const std::vector<uint32_t>& rows) {
  struct Place {
    float at, weight;
  };
  Box box;
  std::vector<Place> places(rows.size());
  for (size_t axis = 0; axis < 3; ++axis) {
    double all = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      places[i] = {ellipsoids.means[rows[i]].data()[axis], ellipsoids.opacities[rows[i]]};
      all += places[i].weight;
    }
    std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return a.at < b.at; });
    const auto outermost = [&](auto from, auto to) {
      double passed = from->weight;
      while (from + 1 != to && passed <= all * kOutermost) passed += (++from)->weight;
      return from->at;
    };
    box.least.data()[axis] = outermost(places.begin(), places.end());
    box.most.data()[axis] = outermost(places.rbegin(), places.rend());
  }
  return box;
}

}  // namespace

void Ellipsoids::reserve(size_t count) {
  means.reserve(count);
  scales.reserve(count);
  rotations.reserve(count);
  opacities.reserve(count);
}

void Ellipsoids::push_back(Vec3f mean, Vec3f scale, std::array<float, 4> rotation, float opacity) {
  means.push_back(mean);
  scales.push_back(scale);
  rotations.push_back(rotation);
  opacities.push_back(opacity);
}

Ellipsoids ellipsoids_of(const Renderer::Deformed& deformed) {
  Ellipsoids result;
  const std::vector<float> means = deformed.means.to_host(), scales = deformed.scales.to_host(),
                           rotations = deformed.rotations.to_host();
  result.opacities = deformed.opacities.to_host();
  require_finite(means, 3, "position");
  require_finite(scales, 3, "scale");
  require_finite(rotations, 4, "rotation");
  require_finite(result.opacities, 1, "opacity");
  const size_t count = result.opacities.size();
  result.means.resize(count);
  result.scales.resize(count);
  result.rotations.resize(count);
  for (size_t i = 0; i < count; ++i) {
    result.means[i] = {means[3 * i], means[3 * i + 1], means[3 * i + 2]};
    result.scales[i] = {scales[3 * i], scales[3 * i + 1], scales[3 * i + 2]};
    std::copy_n(&rotations[4 * i], 4, result.rotations[i].begin());
  }
  return result;
}

Rotation rotation_matrix(const std::array<float, 4>& q) {
  const auto [w, x, y, z] = q;
  return {Vec3f{1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)},
          Vec3f{2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)},
          Vec3f{2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)}};
}

float Box::longest_side() const {
  const Vec3f s = size();
  return std::max({s.x, s.y, s.z});
}

Vec3f three_sigma(const Ellipsoids& ellipsoids, size_t i) {
  const Rotation axes = rotation_matrix(ellipsoids.rotations[i]);
  Vec3f squares;
  for (size_t k = 0; k < 3; ++k) {
    const Vec3f a = axes[k] * ellipsoids.scales[i].data()[k];
    squares += {a.x * a.x, a.y * a.y, a.z * a.z};
  }
  return {3 * std::sqrt(squares.x), 3 * std::sqrt(squares.y), 3 * std::sqrt(squares.z)};
}

Extent extent_of(const Ellipsoids& ellipsoids, float min_opacity) {
  std::vector<uint32_t> opaque;
  for (size_t i = 0; i < ellipsoids.count(); ++i)
    if (ellipsoids.opacities[i] >= min_opacity) opaque.push_back(static_cast<uint32_t>(i));
  if (opaque.empty())
    throw Error(
        ellipsoids.count() == 0
            ? "there is no surface to make: the object has no Gaussians"
            : fmt::format("there is no surface to make: no Gaussian is as opaque as {}", min_opacity));
  Extent extent;
  const Box middle = middle_box(ellipsoids, opaque);
  const float margin = std::max(middle.longest_side() * kMargin, kMinSize);
  const Vec3f wide = {margin, margin, margin};
  const Box near = {middle.least - wide, middle.most + wide};
  for (const uint32_t i : opaque) {
    const Vec3f mean = ellipsoids.means[i], reach = three_sigma(ellipsoids, i);
    const Vec3f from = mean - reach, to = mean + reach;
    bool within = true;
    for (size_t axis = 0; axis < 3; ++axis)
      within &= from.data()[axis] >= near.least.data()[axis] && to.data()[axis] <= near.most.data()[axis];
    if (!within) continue;
    if (extent.inside.empty()) extent.box = {from, to};
    for (size_t axis = 0; axis < 3; ++axis) {
      float &least = extent.box.least.data()[axis], &most = extent.box.most.data()[axis];
      least = std::min(least, from.data()[axis]);
      most = std::max(most, to.data()[axis]);
    }
    extent.inside.push_back(i);
  }
  if (extent.inside.empty()) {  // a few Gaussians that are larger than their distances
    extent.inside = opaque;
    extent.box = {ellipsoids.means[opaque[0]], ellipsoids.means[opaque[0]]};
    for (const uint32_t i : opaque) {
      const Vec3f reach = three_sigma(ellipsoids, i), mean = ellipsoids.means[i];
      for (size_t axis = 0; axis < 3; ++axis) {
        float &least = extent.box.least.data()[axis], &most = extent.box.most.data()[axis];
        least = std::min(least, mean.data()[axis] - reach.data()[axis]);
        most = std::max(most, mean.data()[axis] + reach.data()[axis]);
      }
    }
  }
  return extent;
}

Ellipsoids select(const Ellipsoids& ellipsoids, const std::vector<uint32_t>& rows) {
  Ellipsoids selected;
  selected.reserve(rows.size());
  for (const uint32_t i : rows)
    selected.push_back(ellipsoids.means[i], ellipsoids.scales[i], ellipsoids.rotations[i],
                       ellipsoids.opacities[i]);
  return selected;
}

}  // namespace eg4d::mesh
