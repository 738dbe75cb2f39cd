#pragma once

#include <span>

#include "mesh/triangle_mesh.h"

namespace eg4d::mesh {

// A point of a surface: corners[0] + second·(corners[1]-corners[0]) + third·(corners[2]-corners[0]).
struct SurfacePoint {
  uint32_t triangle = 0;
  float second = 0, third = 0;

  Vec3f at(const std::vector<std::array<uint32_t, 3>>& triangles, std::span<const Vec3f> values) const {
    const auto& [a, b, c] = triangles[triangle];
    return values[a] * (1 - second - third) + values[b] * second + values[c] * third;
  }
};

// The texels of a texture that belong to triangles: those whose middle lies in one or within a texel of it,
// which then stand for the nearest point of it. So a triangle too thin to hold the middle of a texel has some
// too, and what is between a chart's last texels and its border is made of its own colours.
struct SurfacePoints {
  std::vector<uint32_t> numbers;  // ascending: texels (row · size + column) or positions
  std::vector<SurfacePoint> points;
};
// The mesh must be sound and have uvs.
SurfacePoints points_of_texels(const TriangleMesh& mesh, int size);

// One for each position that a triangle has: a corner of one of them.
SurfacePoints points_of_positions(const TriangleMesh& mesh);

}  // namespace eg4d::mesh
