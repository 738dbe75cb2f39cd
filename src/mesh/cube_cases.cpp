#include "mesh/cube_cases.h"

#include <cstddef>

namespace eg4d::mesh {
namespace {

constexpr int kNone = -1;

int bit(int corner, int axis) {
  return corner >> axis & 1;
}

std::array<CubeEdge, 12> make_edges() {
  std::array<CubeEdge, 12> edges{};
  size_t next = 0;
  for (uint8_t axis = 0; axis < 3; ++axis)
    for (uint8_t corner = 0; corner < 8; ++corner)
      if (!bit(corner, axis)) edges[next++] = {corner, static_cast<uint8_t>(corner | 1 << axis), axis};
  return edges;
}

int edge_between(const std::array<CubeEdge, 12>& edges, int a, int b) {
  for (int e = 0; e < 12; ++e) {
    const CubeEdge& edge = edges[static_cast<size_t>(e)];
    if ((edge.from == a && edge.to == b) || (edge.from == b && edge.to == a)) return e;
  }
  return kNone;
}

// The corners of a face, counter-clockwise seen from outside the cube.
std::array<int, 4> face_corners(int axis, int side) {
  const int u = (axis + 1) % 3, v = (axis + 2) % 3;
  const int base = side << axis;
  if (side) return {base, base | 1 << u, base | 1 << u | 1 << v, base | 1 << v};
  return {base, base | 1 << v, base | 1 << u | 1 << v, base | 1 << u};
}

// Where the surface runs on: next[e] is the edge that follows on edge e, over a face. On each face a line
// cuts off every run of corners that are inside, so that what a face looks like depends on its corners alone.
std::array<int, 12> successors(const std::array<CubeEdge, 12>& edges, int inside) {
  std::array<int, 12> next;
  next.fill(kNone);
  for (int axis = 0; axis < 3; ++axis)
    for (int side = 0; side < 2; ++side) {
      const auto corners = face_corners(axis, side);
      const auto is_in = [&](size_t i) { return (inside >> corners[i % 4] & 1) != 0; };
      for (size_t i = 0; i < 4; ++i) {
        if (is_in(i) || !is_in(i + 1)) continue;  // a run begins at i + 1
        size_t last = i + 1;
        while (is_in(last + 1)) ++last;
        const int entered = edge_between(edges, corners[i], corners[(i + 1) % 4]);
        const int left = edge_between(edges, corners[last % 4], corners[(last + 1) % 4]);
        next[static_cast<size_t>(entered)] = left;
      }
    }
  return next;
}

bool share_a_face(const CubeEdge& a, const CubeEdge& b) {
  for (int axis = 0; axis < 3; ++axis) {
    const int side = bit(a.from, axis);
    if (bit(a.to, axis) == side && bit(b.from, axis) == side && bit(b.to, axis) == side) return true;
  }
  return false;
}

// Cuts a loop of edges into triangles. A diagonal that lies in a face of the cube could meet the same one of
// the neighbour, and four triangles an edge: the triangulation with the fewest of them, by dynamic
// programming over intervals.
void triangulate(const std::array<CubeEdge, 12>& edges, const std::vector<uint8_t>& loop,
                 std::vector<std::array<uint8_t, 3>>& triangles) {
  const size_t n = loop.size();
  std::vector<std::vector<int>> cost(n, std::vector<int>(n, 0)), middle = cost;
  for (size_t span = 2; span < n; ++span)
    for (size_t i = 0; i + span < n; ++i) {
      const size_t k = i + span;
      int least = 1 << 20;
      for (size_t m = i + 1; m < k; ++m) {
        const int c = cost[i][m] + cost[m][k];
        if (c >= least) continue;
        least = c;
        middle[i][k] = static_cast<int>(m);
      }
      const bool is_diagonal = span < n - 1;
      cost[i][k] = least + (is_diagonal && share_a_face(edges[loop[i]], edges[loop[k]]) ? 1 : 0);
    }
  std::vector<std::array<size_t, 2>> open = {{0, n - 1}};
  while (!open.empty()) {
    const auto [i, k] = open.back();
    open.pop_back();
    if (k < i + 2) continue;
    const auto m = static_cast<size_t>(middle[i][k]);
    triangles.push_back({loop[i], loop[m], loop[k]});
    open.push_back({i, m});
    open.push_back({m, k});
  }
}

CubeCases make_cases() {
  CubeCases cases;
  cases.edges = make_edges();
  for (int inside = 0; inside < 256; ++inside) {
    std::array<int, 12> next = successors(cases.edges, inside);
    for (size_t first = 0; first < 12; ++first) {
      std::vector<uint8_t> loop;
      for (size_t edge = first; next[edge] != kNone;) {
        loop.push_back(static_cast<uint8_t>(edge));
        const auto following = static_cast<size_t>(next[edge]);
        next[edge] = kNone;
        edge = following;
      }
      if (loop.size() >= 3) triangulate(cases.edges, loop, cases.triangles[static_cast<size_t>(inside)]);
    }
  }
  return cases;
}

}  // namespace

const CubeCases& cube_cases() {
  static const CubeCases cases = make_cases();
  return cases;
}

}  // namespace eg4d::mesh
