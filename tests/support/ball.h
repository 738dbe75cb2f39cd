#pragma once

#include "mesh/iso_surface.h"

namespace eg4d::test {

// A field that is 1 - |p - center|/radius at a lattice's points.
inline mesh::BlockField ball_field(const mesh::Lattice& lattice, mesh::Vec3f center, float radius) {
  return [=](const mesh::BlockNumber& block, float* values) {
    for (int z = 0; z < mesh::kBlockPoints; ++z)
      for (int y = 0; y < mesh::kBlockPoints; ++y)
        for (int x = 0; x < mesh::kBlockPoints; ++x)
          *values++ = 1 - length(lattice.at(block[0] * mesh::kBlock + x, block[1] * mesh::kBlock + y,
                                            block[2] * mesh::kBlock + z) -
                                 center) /
                              radius;
  };
}

inline std::vector<mesh::BlockNumber> all_blocks(const mesh::Lattice& lattice) {
  std::vector<mesh::BlockNumber> all;
  const auto counts = mesh::block_counts(lattice);
  for (int z = 0; z < counts[2]; ++z)
    for (int y = 0; y < counts[1]; ++y)
      for (int x = 0; x < counts[0]; ++x) all.push_back({x, y, z});
  return all;
}

// A ball of radius 1 about the center.
inline mesh::TriangleMesh ball(int resolution, mesh::Vec3f center = {}) {
  const mesh::Vec3f wide = {1.1f, 1.1f, 1.1f};
  const mesh::Lattice lattice = mesh::lattice_around({center - wide, center + wide}, resolution);
  return mesh::iso_surface(lattice, 0, ball_field(lattice, center, 1), all_blocks(lattice));
}

// Adds the triangles of another surface, turned inside out with `inwards`.
inline void add_surface(mesh::TriangleMesh& to, const mesh::TriangleMesh& other, bool inwards = false) {
  const auto first = static_cast<uint32_t>(to.positions.size());
  to.positions.insert(to.positions.end(), other.positions.begin(), other.positions.end());
  for (auto [a, b, c] : other.triangles) {
    if (inwards) std::swap(b, c);
    to.triangles.push_back({first + a, first + b, first + c});
  }
}

}  // namespace eg4d::test
