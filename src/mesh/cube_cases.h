#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace eg4d::mesh {

// Corner c of a cube: bit 0 of c is its x, bit 1 its y, bit 2 its z.
struct CubeEdge {
  uint8_t from, to;  // corners; `from` is the lower one
  uint8_t axis;      // along which it runs
};

// The edges, and for each set of corners that are inside (bit c: corner c) the triangles that part them from
// the others: three edges each, counter-clockwise seen from outside.
struct CubeCases {
  std::array<CubeEdge, 12> edges;
  std::array<std::vector<std::array<uint8_t, 3>>, 256> triangles;
};

// Made once.
const CubeCases& cube_cases();

}  // namespace eg4d::mesh
