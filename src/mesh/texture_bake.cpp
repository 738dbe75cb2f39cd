#include "mesh/texture_bake.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/threads.h"
#include "mesh/best_views.h"
#include "mesh/color_fill.h"
#include "mesh/depth_buffer.h"
#include "mesh/mesh_check.h"
#include "mesh/surface_points.h"

namespace eg4d::mesh {
namespace {

constexpr const char* kWhat = "cannot colour the surface";

void check(const TriangleMesh& mesh, std::span<const SurfaceMoment> moments, std::span<const Camera> cameras,
           const BakeOptions& options) {
  if (options.best_views < 1 || options.best_views > 64)
    throw Error(fmt::format("{}: a colour is made of 1 to 64 views, not {}", kWhat, options.best_views));
  if (moments.empty() || cameras.empty()) throw Error(fmt::format("{}: no camera looks at it", kWhat));
  for (const Camera& camera : cameras)
    if (camera.width < 2 || camera.height < 2)
      throw Error(
          fmt::format("{}: its pictures would have {}×{} pixels", kWhat, camera.width, camera.height));
  check_sound(mesh, kWhat);
  for (const SurfaceMoment& moment : moments) {
    TriangleMesh at{{moment.positions.begin(), moment.positions.end()},
                    {moment.normals.begin(), moment.normals.end()},
                    mesh.triangles,
                    {}};
    check_sound(at, kWhat);
    if (at.positions.size() != mesh.positions.size() || at.normals.size() != mesh.positions.size())
      throw Error(fmt::format("{}: it has {} positions, but {} and {} normals at time {}", kWhat,
                              mesh.positions.size(), at.positions.size(), at.normals.size(), moment.time));
  }
}

// Half the longest side of the box around them.
float radius_of(std::span<const Vec3f> positions) {
  Vec3f low = positions[0], high = positions[0];
  for (const Vec3f p : positions) {
    low = {std::min(low.x, p.x), std::min(low.y, p.y), std::min(low.z, p.z)};
    high = {std::max(high.x, p.x), std::max(high.y, p.y), std::max(high.z, p.z)};
  }
  const Vec3f sides = high - low;
  return std::max({sides.x, sides.y, sides.z}) / 2;
}

void check_picture(const SeenObject& seen, const Camera& camera) {
  const size_t pixels = static_cast<size_t>(camera.width) * static_cast<size_t>(camera.height);
  if (seen.colors.size() != 3 * pixels || seen.depth.size() != pixels || seen.alpha.size() != pixels)
    throw Error(fmt::format("{}: a picture has another size than its camera", kWhat));
}

// All cameras look at all points at all moments.
BestViews look_from_everywhere(const TriangleMesh& mesh, const std::vector<SurfacePoint>& points,
                               std::span<const SurfaceMoment> moments, std::span<const Camera> cameras,
                               const SeeObject& see, const BakeOptions& options, Progress& progress) {
  BestViews views(points.size(), options.best_views);
  std::vector<Vec3f> positions(points.size()), normals(points.size());
  progress.begin(static_cast<int64_t>(moments.size() * cameras.size()), "colouring the surface");
  int64_t step = 0;
  for (const SurfaceMoment& moment : moments) {
    parallel_for(static_cast<int64_t>(points.size()), 4096, [&](int64_t begin, int64_t end) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        positions[i] = points[i].at(mesh.triangles, moment.positions);
        normals[i] = normalized(points[i].at(mesh.triangles, moment.normals));
      }
    });
    const float radius = radius_of(moment.positions);
    for (const Camera& camera : cameras) {
      if (interrupt_requested()) throw Interrupted("stopped while the surface was coloured");
      const SeenObject seen = see(camera, moment.time);
      check_picture(seen, camera);
      views.look(camera, seen, depth_buffer(moment.positions, mesh.triangles, camera), positions, normals,
                 radius);
      progress.update(++step);
    }
  }
  return views;
}

std::array<uint8_t, 3> bytes_of(Vec3f color) {
  const auto byte = [](float v) { return static_cast<uint8_t>(std::lround(std::clamp(v, 0.f, 1.f) * 255)); };
  return {byte(color.x), byte(color.y), byte(color.z)};
}

// Texels that were not seen take colours between those of their triangle's corners.
Picture texture_of(const TriangleMesh& mesh, const SurfacePoints& texels, const BestViews& views,
                   const std::vector<Vec3f>& corner_colors, int size) {
  Picture texture(size, size, 3);
  std::vector<bool> known(static_cast<size_t>(size) * static_cast<size_t>(size), false);
  for (const uint32_t texel : texels.numbers) known[texel] = true;
  parallel_for(static_cast<int64_t>(texels.points.size()), 4096, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const Vec3f color = views.seen(i) ? views.color(i) : texels.points[i].at(mesh.triangles, corner_colors);
      std::ranges::copy(bytes_of(color), &texture.data[size_t{3} * texels.numbers[i]]);
    }
  });
  fill_texels(texture, std::move(known));
  return texture;
}

// `size` 0: no texture.
BakedTexture bake(const TriangleMesh& mesh, std::span<const SurfaceMoment> moments,
                  std::span<const Camera> cameras, const SeeObject& see, const BakeOptions& options, int size,
                  Progress& progress) {
  check(mesh, moments, cameras, options);
  // Positions stand behind texels: they fill what no camera sees.
  const SurfacePoints texels = size > 0 ? points_of_texels(mesh, size) : SurfacePoints();
  const SurfacePoints corners = points_of_positions(mesh);
  std::vector<SurfacePoint> points = texels.points;
  points.insert(points.end(), corners.points.begin(), corners.points.end());
  const BestViews views = look_from_everywhere(mesh, points, moments, cameras, see, options, progress);

  std::vector<Vec3f> colors(mesh.positions.size());
  std::vector<bool> known(mesh.positions.size(), false);
  for (size_t i = 0; i < corners.numbers.size(); ++i) {
    const size_t point = texels.points.size() + i;
    if (!views.seen(point)) continue;
    known[corners.numbers[i]] = true;
    colors[corners.numbers[i]] = views.color(point);
  }
  fill_colors(mesh, std::move(known), colors);
  BakedTexture result;
  for (const Vec3f color : colors) result.colors.push_back(bytes_of(color));
  const size_t counted = size > 0 ? texels.points.size() : points.size();
  size_t seen = 0;
  for (size_t i = 0; i < counted; ++i) seen += views.seen(i) ? 1 : 0;
  result.seen = static_cast<double>(seen) / static_cast<double>(std::max<size_t>(counted, 1));
  if (size > 0) result.texture = texture_of(mesh, texels, views, colors, size);
  return result;
}

}  // namespace

BakedTexture bake_texture(const TriangleMesh& mesh, std::span<const SurfaceMoment> moments,
                          std::span<const Camera> cameras, const SeeObject& see, const BakeOptions& options,
                          Progress& progress) {
  if (options.size < 16 || options.size > 8192)
    throw Error(fmt::format("a texture has 16 to 8192 texels a side, not {}", options.size));
  if (mesh.uvs.empty()) throw Error(fmt::format("{}: it has no place for a texture", kWhat));
  return bake(mesh, moments, cameras, see, options, options.size, progress);
}

BakedTexture bake_colors(const TriangleMesh& mesh, std::span<const SurfaceMoment> moments,
                         std::span<const Camera> cameras, const SeeObject& see, const BakeOptions& options,
                         Progress& progress) {
  return bake(mesh, moments, cameras, see, options, 0, progress);
}

}  // namespace eg4d::mesh
