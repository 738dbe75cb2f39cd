#include "mesh/written_mesh.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "mesh/mesh_check.h"

namespace eg4d::mesh {
namespace {

Vec3f in_axes_of(Vec3f v, const MeshWriting& writing) {
  return writing.y_up ? Vec3f{v.x, v.z, -v.y} : v;
}

}  // namespace

std::vector<Vec3f> positions_as_written(std::vector<Vec3f> positions, const MeshWriting& writing) {
  for (Vec3f& p : positions) p = in_axes_of(p, writing) * static_cast<float>(writing.scale);
  return positions;
}

std::vector<Vec3f> normals_as_written(std::vector<Vec3f> normals, const MeshWriting& writing) {
  for (Vec3f& n : normals) {
    n = in_axes_of(normalized(n), writing);
    if (n == Vec3f()) n = {0, 1, 0};
  }
  return normals;
}

TriangleMesh as_written(const std::filesystem::path& path, TriangleMesh mesh, const Picture& texture,
                        const MeshWriting& writing) {
  const std::string what = fmt::format("cannot write '{}'", path.string());
  check_sound(mesh, what);
  if (texture.width > 0 && mesh.uvs.empty())
    throw Error(what + ": there is a texture, but the mesh has no place for it");
  if (texture.width <= 0) mesh.uvs.clear();
  mesh.positions = positions_as_written(std::move(mesh.positions), writing);
  mesh.normals = normals_as_written(std::move(mesh.normals), writing);
  check_sound(mesh, what);  // the scale
  return mesh;
}

TriangleMesh moment_of(const AnimatedMesh& mesh, size_t time) {
  TriangleMesh moment = mesh.reference;
  moment.positions = mesh.positions.at(time);
  moment.normals = mesh.normals.empty() ? std::vector<Vec3f>() : mesh.normals.at(time);
  return moment;
}

void require_plain_name(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  if (std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < ' ' || c == '@' || c == 127; }))
    throw Error(fmt::format("cannot write '{}': a file that names the files beside it must have a plain name",
                            path.string()));
}

}  // namespace eg4d::mesh
