#pragma once

#include "mesh/triangle_mesh.h"

namespace eg4d::test {

struct SurfaceSample {
  mesh::Vec3f position, normal;
};
// Evenly over the area.
std::vector<SurfaceSample> sample_surface(const mesh::TriangleMesh& surface, size_t count, uint64_t seed);

// Of samples of each surface to the nearest triangle of the other one.
struct SurfaceDistance {
  double to_truth = 0, from_truth = 0;  // mean distances: of the surface to the truth, and back
  double farthest = 0;                  // 99 of 100 of the surface's samples are nearer than that
  double normals = 0;                   // mean cosine between normals, both ways

  double chamfer() const { return (to_truth + from_truth) / 2; }
};
SurfaceDistance surface_distance(const mesh::TriangleMesh& surface, const mesh::TriangleMesh& truth,
                                 size_t samples = 40000);

}  // namespace eg4d::test
