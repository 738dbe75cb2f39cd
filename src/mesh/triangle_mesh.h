#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "mesh/vector.h"

namespace eg4d::mesh {

// A surface in the model's axes (z up) and units; triangles are counter-clockwise seen from outside.
struct TriangleMesh {
  std::vector<Vec3f> positions;
  std::vector<Vec3f> normals;                      // of length 1, one for each position; or empty
  std::vector<std::array<uint32_t, 3>> triangles;  // numbers of positions
  // One for each position, u to the right and v down, as glTF and pictures have it; empty until there is an
  // atlas. An atlas doubles the positions at its seams, so that each has one.
  std::vector<Vec2f> uvs;
};

// One topology at several times.
struct AnimatedMesh {
  TriangleMesh reference;                     // triangles and uvs of all times
  std::vector<float> times;                   // in [0,1], ascending
  std::vector<std::vector<Vec3f>> positions;  // [times][positions]
  std::vector<std::vector<Vec3f>> normals;    // likewise
};

// Area-weighted normals of length 1; +z where no triangle with an area touches a position.
std::vector<Vec3f> vertex_normals(const std::vector<Vec3f>& positions,
                                  const std::vector<std::array<uint32_t, 3>>& triangles);

}  // namespace eg4d::mesh
