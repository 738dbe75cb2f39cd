#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "mesh/triangle_mesh.h"

namespace eg4d::mesh {

// A side of a triangle: corner `side` to the one after it.
struct HalfEdge {
  uint32_t low, high;  // positions, the smaller number first
  uint32_t triangle;
  uint8_t side;
  bool forward;  // from low to high

  bool same_edge(const HalfEdge& other) const { return low == other.low && high == other.high; }
};

// All of them; those of an edge beside each other, in the order of triangles.
inline std::vector<HalfEdge> sorted_half_edges(const std::vector<std::array<uint32_t, 3>>& triangles) {
  std::vector<HalfEdge> edges;
  edges.reserve(3 * triangles.size());
  for (size_t t = 0; t < triangles.size(); ++t)
    for (uint8_t side = 0; side < 3; ++side) {
      const uint32_t a = triangles[t][side], b = triangles[t][(side + 1U) % 3];
      edges.push_back({std::min(a, b), std::max(a, b), static_cast<uint32_t>(t), side, a < b});
    }
  std::sort(edges.begin(), edges.end(), [](const HalfEdge& a, const HalfEdge& b) {
    if (a.low != b.low) return a.low < b.low;
    if (a.high != b.high) return a.high < b.high;
    return a.triangle < b.triangle;
  });
  return edges;
}

// Calls with the first half of each edge and how many it has.
template <class Visit>
void for_each_edge(const std::vector<HalfEdge>& edges, const Visit& visit) {
  for (size_t begin = 0; begin < edges.size();) {
    size_t end = begin + 1;
    while (end < edges.size() && edges[end].same_edge(edges[begin])) ++end;
    visit(&edges[begin], end - begin);
    begin = end;
  }
}

// Sets that are joined pair by pair; the root of each is its smallest member.
class DisjointSets {
 public:
  explicit DisjointSets(size_t count) : parent_(count) {
    for (size_t i = 0; i < count; ++i) parent_[i] = static_cast<uint32_t>(i);
  }
  uint32_t root(uint32_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void join(uint32_t a, uint32_t b) {
    a = root(a), b = root(b);
    if (a != b) parent_[std::max(a, b)] = std::min(a, b);
  }

 private:
  std::vector<uint32_t> parent_;
};

}  // namespace eg4d::mesh
