#include "mesh/mesh_simplification.h"

#include <meshoptimizer.h>

#include "mesh/mesh_cleaning.h"

namespace eg4d::mesh {

void simplify(TriangleMesh& mesh, size_t faces) {
  if (mesh.triangles.size() <= faces) return;
  const size_t indices = 3 * mesh.triangles.size();
  std::vector<std::array<uint32_t, 3>> kept(mesh.triangles.size());
  constexpr float kAnyError = 1e9f;
  const size_t left = meshopt_simplify(kept.data()->data(), mesh.triangles.data()->data(), indices,
                                       mesh.positions.data()->data(), mesh.positions.size(), sizeof(Vec3f),
                                       3 * faces, kAnyError, 0, nullptr);
  kept.resize(left / 3);
  mesh.triangles = std::move(kept);
  drop_degenerate(mesh);
  if (facts_of(mesh).watertight()) return;
  repair_crossed(mesh);
  fill_holes(mesh);
}

}  // namespace eg4d::mesh
