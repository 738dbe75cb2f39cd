#include "mesh/mesh_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace eg4d::mesh {
namespace {

constexpr size_t kMost = size_t{1} << 31;

bool is_finite(Vec3f p) {
  return std::isfinite(p.x) && std::isfinite(p.y) && std::isfinite(p.z);
}
bool is_finite(Vec2f p) {
  return std::isfinite(p.x) && std::isfinite(p.y);
}

template <class Vector>
void check_values(const std::vector<Vector>& values, size_t count, const char* name,
                  const std::string& what) {
  if (values.size() != count)
    throw Error(fmt::format("{}: the mesh has {} positions, but {} {}", what, count, values.size(), name));
  const auto odd = std::find_if(values.begin(), values.end(), [](Vector v) { return !is_finite(v); });
  if (odd != values.end())
    throw Error(
        fmt::format("{}: the mesh's {} are not finite (number {})", what, name, odd - values.begin()));
}

}  // namespace

void check_sound(const TriangleMesh& mesh, const std::string& what) {
  const size_t count = mesh.positions.size();
  if (mesh.triangles.empty()) throw Error(fmt::format("{}: the mesh is empty", what));
  if (count > kMost || mesh.triangles.size() > kMost)
    throw Error(fmt::format("{}: the mesh is too large ({} positions, {} triangles; at most {})", what, count,
                            mesh.triangles.size(), kMost));
  check_values(mesh.positions, count, "positions", what);
  if (!mesh.normals.empty()) check_values(mesh.normals, count, "normals", what);
  if (!mesh.uvs.empty()) check_values(mesh.uvs, count, "uvs", what);
  for (const auto& triangle : mesh.triangles)
    for (const uint32_t corner : triangle)
      if (corner >= count)
        throw Error(
            fmt::format("{}: a triangle of the mesh asks for position {} of {}", what, corner, count));
}

void check_sound(const AnimatedMesh& mesh, const std::string& what) {
  check_sound(mesh.reference, what);
  const size_t times = mesh.times.size();
  if (times == 0 || mesh.positions.size() != times || (!mesh.normals.empty() && mesh.normals.size() != times))
    throw Error(fmt::format("{}: the mesh has {} times, but positions of {} and normals of {}", what, times,
                            mesh.positions.size(), mesh.normals.size()));
  for (size_t i = 0; i < times; ++i) {
    if (!(mesh.times[i] >= 0 && mesh.times[i] <= 1) || (i > 0 && !(mesh.times[i] > mesh.times[i - 1])))
      throw Error(fmt::format("{}: the mesh's times do not ascend from 0 to 1", what));
    check_values(mesh.positions[i], mesh.reference.positions.size(), "positions of a time", what);
    if (!mesh.normals.empty())
      check_values(mesh.normals[i], mesh.reference.positions.size(), "normals of a time", what);
  }
}

}  // namespace eg4d::mesh
