// Which triangles of a chart overlap others in its plane.

#include <algorithm>
#include <cmath>

#include "mesh/mesh_charts.h"

namespace eg4d::mesh {
namespace {

struct Point {
  double x = 0, y = 0;
};
struct Corners {
  Point at[3];
  Point low() const { return {std::min({at[0].x, at[1].x, at[2].x}), std::min({at[0].y, at[1].y, at[2].y})}; }
  Point high() const {
    return {std::max({at[0].x, at[1].x, at[2].x}), std::max({at[0].y, at[1].y, at[2].y})};
  }
};

// Whether the second triangle lies beyond a side of the first, which is counter-clockwise, but for
// `tolerance`.
bool beyond_a_side(const Corners& first, const Corners& second, double tolerance) {
  for (int k = 0; k < 3; ++k) {
    const Point from = first.at[k], to = first.at[(k + 1) % 3];
    const double x = to.x - from.x, y = to.y - from.y, length = std::hypot(x, y);
    const auto is_inside = [&](Point p) {
      return x * (p.y - from.y) - y * (p.x - from.x) > tolerance * length;
    };
    if (std::none_of(second.at, second.at + 3, is_inside)) return true;
  }
  return false;
}

// Squares of a plane, each with the triangles that reach into it.
class Grid {
 public:
  Grid(Point low, double extent, size_t triangles)
      : low_(low),
        side_(std::clamp(static_cast<int>(std::sqrt(static_cast<double>(triangles))), 1, 256)),
        cell_(extent / side_),
        cells_(static_cast<size_t>(side_) * static_cast<size_t>(side_)) {}

  template <class Visit>
  bool any(const Corners& corners, Visit&& visit) {
    const Point low = corners.low(), high = corners.high();
    for (int y = index(low.y - low_.y); y <= index(high.y - low_.y); ++y)
      for (int x = index(low.x - low_.x); x <= index(high.x - low_.x); ++x)
        if (visit(cells_[static_cast<size_t>(y * side_ + x)])) return true;
    return false;
  }

 private:
  int index(double distance) const {
    return cell_ > 0 ? static_cast<int>(std::clamp(distance / cell_, 0.0, side_ - 1.0)) : 0;
  }

  const Point low_;
  const int side_;
  const double cell_;
  std::vector<std::vector<uint32_t>> cells_;
};

}  // namespace

std::vector<uint32_t> overlapping(const std::vector<Vec3f>& positions,
                                  const std::vector<std::array<uint32_t, 3>>& triangles, const Chart& chart) {
  const PlaneBasis plane = plane_of(chart.axis);
  const auto along = [](Vec3f axis, Vec3f p) {
    return double{axis.x} * p.x + double{axis.y} * p.y + double{axis.z} * p.z;
  };
  std::vector<Corners> flat;
  Point low{INFINITY, INFINITY}, high{-INFINITY, -INFINITY};
  for (const uint32_t t : chart.triangles) {
    Corners& corners = flat.emplace_back();
    for (size_t k = 0; k < 3; ++k) {
      const Vec3f p = positions[triangles[t][k]];
      corners.at[k] = {along(plane.right, p), along(plane.up, p)};
    }
    low = {std::min(low.x, corners.low().x), std::min(low.y, corners.low().y)};
    high = {std::max(high.x, corners.high().x), std::max(high.y, corners.high().y)};
  }
  const double extent = std::max(high.x - low.x, high.y - low.y), tolerance = 1e-7 * extent;
  Grid grid(low, extent, flat.size());
  std::vector<uint32_t> found;
  for (uint32_t i = 0; i < flat.size(); ++i) {
    const Corners& corners = flat[i];
    const bool overlaps = grid.any(corners, [&](const std::vector<uint32_t>& cell) {
      return std::any_of(cell.begin(), cell.end(), [&](uint32_t other) {
        return !beyond_a_side(corners, flat[other], tolerance) &&
               !beyond_a_side(flat[other], corners, tolerance);
      });
    });
    if (overlaps) {
      found.push_back(chart.triangles[i]);
      continue;
    }
    grid.any(corners, [&](std::vector<uint32_t>& cell) {
      cell.push_back(i);
      return false;
    });
  }
  return found;
}

}  // namespace eg4d::mesh
