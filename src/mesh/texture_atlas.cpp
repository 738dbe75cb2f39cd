#include "mesh/texture_atlas.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "mesh/chart_packing.h"
#include "mesh/mesh_charts.h"
#include "mesh/mesh_check.h"

namespace eg4d::mesh {
namespace {

// A chart's triangles in its plane, turned so that the rectangle around them is small.
FlatChart laid_flat(const TriangleMesh& mesh, const Chart& chart) {
  const PlaneBasis plane = plane_of(chart.axis);
  const auto flat = [&](uint32_t position, Vec2f right, Vec2f up) {
    const Vec3f p = mesh.positions[position];
    const float x = dot(plane.right, p), y = dot(plane.up, p);
    return Vec2f{right.x * x + right.y * y, up.x * x + up.y * y};
  };
  std::vector<Vec2f> points;
  for (const uint32_t t : chart.triangles)
    for (const uint32_t corner : mesh.triangles[t]) points.push_back(flat(corner, {1, 0}, {0, 1}));
  const float turn = upright_turn(points), c = std::cos(turn), s = std::sin(turn);
  FlatChart result;
  for (const uint32_t t : chart.triangles) {
    auto& triangle = result.triangles.emplace_back();
    for (size_t k = 0; k < 3; ++k) triangle[k] = flat(mesh.triangles[t][k], {c, -s}, {s, c});
  }
  return result;
}

}  // namespace

Atlas make_atlas(const TriangleMesh& mesh, const AtlasOptions& options) {
  if (options.size < 16 || options.size > 8192 || options.padding < 0 || options.padding > options.size / 8)
    throw Error(
        fmt::format("a texture has 16 to 8192 texels a side and at most an eighth of them between its "
                    "pieces, not {} and {}",
                    options.size, options.padding));
  check_sound(mesh, "cannot lay a texture on the surface");
  const std::vector<Chart> charts = cut_into_charts(mesh.positions, mesh.triangles);
  std::vector<FlatChart> flat;
  for (const Chart& chart : charts) flat.push_back(laid_flat(mesh, chart));
  const Packing packing = pack_charts(flat, options.size, options.padding);

  Atlas atlas;
  atlas.charts = static_cast<int>(charts.size());
  atlas.mesh.triangles.resize(mesh.triangles.size());
  const auto size = static_cast<float>(options.size);
  constexpr uint32_t kNone = UINT32_MAX;
  std::vector<uint32_t> copies(mesh.positions.size(), kNone);
  double area = 0;
  for (size_t i = 0; i < charts.size(); ++i) {
    for (size_t n = 0; n < charts[i].triangles.size(); ++n) {
      const uint32_t t = charts[i].triangles[n];
      std::array<Vec2f, 3> texels;
      for (size_t k = 0; k < 3; ++k) {
        const uint32_t source = mesh.triangles[t][k];
        texels[k] = packing.placements[i].place(flat[i].triangles[n][k], packing.scale);
        if (copies[source] == kNone) {
          copies[source] = static_cast<uint32_t>(atlas.sources.size());
          atlas.sources.push_back(source);
          // v grows downwards: charts would be mirrored otherwise.
          atlas.mesh.uvs.push_back({texels[k].x / size, 1 - texels[k].y / size});
        }
        atlas.mesh.triangles[t][k] = copies[source];
      }
      const auto& [a, b, c] = texels;
      area += std::abs(double{b.x - a.x} * (c.y - a.y) - double{b.y - a.y} * (c.x - a.x)) / 2;
    }
    for (const uint32_t t : charts[i].triangles)
      for (const uint32_t corner : mesh.triangles[t]) copies[corner] = kNone;
  }
  atlas.coverage = area / (double{size} * size);
  for (const uint32_t source : atlas.sources) {
    atlas.mesh.positions.push_back(mesh.positions[source]);
    if (!mesh.normals.empty()) atlas.mesh.normals.push_back(mesh.normals[source]);
  }
  return atlas;
}

AnimatedMesh with_atlas(const AnimatedMesh& mesh, const Atlas& atlas) {
  const auto picked = [&](const std::vector<std::vector<Vec3f>>& times) {
    std::vector<std::vector<Vec3f>> result;
    for (const std::vector<Vec3f>& values : times) {
      std::vector<Vec3f>& of_time = result.emplace_back();
      of_time.reserve(atlas.sources.size());
      for (const uint32_t source : atlas.sources) of_time.push_back(values.at(source));
    }
    return result;
  };
  return {atlas.mesh, mesh.times, picked(mesh.positions), picked(mesh.normals)};
}

}  // namespace eg4d::mesh
