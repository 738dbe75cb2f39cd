#include "mesh/triangle_mesh.h"

namespace eg4d::mesh {

std::vector<Vec3f> vertex_normals(const std::vector<Vec3f>& positions,
                                  const std::vector<std::array<uint32_t, 3>>& triangles) {
  std::vector<Vec3f> normals(positions.size());
  for (const auto& [a, b, c] : triangles) {
    const Vec3f area = cross(positions[b] - positions[a], positions[c] - positions[a]);
    for (const uint32_t corner : {a, b, c}) normals[corner] += area;
  }
  for (Vec3f& normal : normals) {
    normal = normalized(normal);
    if (!(dot(normal, normal) > 0.5f)) normal = {0, 0, 1};
  }
  return normals;
}

}  // namespace eg4d::mesh
