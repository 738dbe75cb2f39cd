#pragma once

#include <array>
#include <functional>
#include <vector>

#include "mesh/ellipsoids.h"
#include "mesh/triangle_mesh.h"

namespace eg4d::mesh {

// Point (i,j,k) is origin + spacing·(i,j,k).
struct Lattice {
  Vec3f origin;
  float spacing = 0;
  std::array<int, 3> points{};

  Vec3f at(int i, int j, int k) const {
    return {origin.x + spacing * static_cast<float>(i), origin.y + spacing * static_cast<float>(j),
            origin.z + spacing * static_cast<float>(k)};
  }
};

// Around the box with a margin of two points; the longest side has `resolution` of them. Throws Error when
// the box is no box of finite sides.
Lattice lattice_around(const Box& box, int resolution);

inline constexpr int kBlock = 8;                 // cells along a side of a block
inline constexpr int kBlockPoints = kBlock + 1;  // whose faces' points belong to the neighbours, too
inline constexpr int kBlockValues = kBlockPoints * kBlockPoints * kBlockPoints;
using BlockNumber = std::array<int, 3>;  // of its first point: kBlock times that

// How many blocks cover the lattice's cells.
std::array<int, 3> block_counts(const Lattice& lattice);

// Writes the field's values at a block's points, x fastest; beyond the lattice whatever it likes. Called from
// several threads at once. Two blocks must give a point that they share the same value.
using BlockField = std::function<void(const BlockNumber&, float* values)>;

// The surface around what is above `level`: marching cubes (Lorensen & Cline 1987; the table is made such
// that faces of neighbouring cubes always fit, corners above the level being apart from each other where a
// face is ambiguous) in the blocks of `seeds`, and in those into which the surface runs on from there. What
// lies on the lattice's outermost points counts as below. So the surface is closed: every edge has two
// triangles. Normals stay empty. The same bits for any number of threads. Throws Interrupted.
TriangleMesh iso_surface(const Lattice& lattice, float level, const BlockField& field,
                         std::vector<BlockNumber> seeds);

}  // namespace eg4d::mesh
