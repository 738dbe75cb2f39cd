#pragma once

#include "mesh/triangle_mesh.h"

namespace eg4d::mesh {

// Each position's neighbours over edges, ascending: those of i are list[begin[i]] … list[begin[i + 1] - 1].
struct Neighbors {
  std::vector<uint32_t> begin, list;
};
Neighbors neighbors_of(size_t positions, const std::vector<std::array<uint32_t, 3>>& triangles);

// Each value becomes (1 - weight)·value + weight·(mean of its neighbours').
void move_to_neighbors(std::vector<Vec3f>& values, const Neighbors& neighbors, float weight);

// Taubin 1995: smooths without shrinking; weights 0.5 and -0.53 in turn.
void smooth_taubin(TriangleMesh& mesh, int rounds);

// Laplacian smoothing with uniform weights. With `keep_volume`, scaled about the middle to the volume of
// before after each round, where the surface encloses one.
void smooth_laplacian(TriangleMesh& mesh, int rounds, float weight, bool keep_volume);

}  // namespace eg4d::mesh
