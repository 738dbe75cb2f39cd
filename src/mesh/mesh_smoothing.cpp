#include "mesh/mesh_smoothing.h"

#include <cmath>

#include "core/threads.h"
#include "mesh/mesh_cleaning.h"
#include "mesh/mesh_edges.h"

namespace eg4d::mesh {
namespace {

constexpr float kInwards = 0.5f, kOutwards = -0.53f;  // 1/0.5 - 1/0.53 = 0.11: what is longer stays

}  // namespace

Neighbors neighbors_of(size_t positions, const std::vector<std::array<uint32_t, 3>>& triangles) {
  Neighbors neighbors;
  neighbors.begin.assign(positions + 1, 0);
  const std::vector<HalfEdge> edges = sorted_half_edges(triangles);
  for_each_edge(edges, [&](const HalfEdge* edge, size_t) {
    ++neighbors.begin[edge->low + 1];
    ++neighbors.begin[edge->high + 1];
  });
  for (size_t i = 0; i < positions; ++i) neighbors.begin[i + 1] += neighbors.begin[i];
  neighbors.list.resize(neighbors.begin.back());
  std::vector<uint32_t> next(neighbors.begin.begin(), neighbors.begin.end() - 1);
  for_each_edge(edges, [&](const HalfEdge* edge, size_t) {
    neighbors.list[next[edge->low]++] = edge->high;
    neighbors.list[next[edge->high]++] = edge->low;
  });
  return neighbors;
}

void move_to_neighbors(std::vector<Vec3f>& values, const Neighbors& neighbors, float weight) {
  std::vector<Vec3f> moved = values;
  parallel_for(static_cast<int64_t>(values.size()), 4096, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const uint32_t first = neighbors.begin[i], last = neighbors.begin[i + 1];
      if (first == last) continue;
      Vec3f sum;
      for (uint32_t k = first; k < last; ++k) sum += values[neighbors.list[k]];
      moved[i] += (sum * (1 / static_cast<float>(last - first)) - values[i]) * weight;
    }
  });
  values = std::move(moved);
}

void smooth_taubin(TriangleMesh& mesh, int rounds) {
  mesh.normals.clear();
  const Neighbors neighbors = neighbors_of(mesh.positions.size(), mesh.triangles);
  for (int i = 0; i < rounds; ++i) {
    move_to_neighbors(mesh.positions, neighbors, kInwards);
    move_to_neighbors(mesh.positions, neighbors, kOutwards);
  }
}

void smooth_laplacian(TriangleMesh& mesh, int rounds, float weight, bool keep_volume) {
  mesh.normals.clear();
  const Neighbors neighbors = neighbors_of(mesh.positions.size(), mesh.triangles);
  const double before = keep_volume ? facts_of(mesh).volume : 0;
  for (int i = 0; i < rounds; ++i) {
    move_to_neighbors(mesh.positions, neighbors, weight);
    if (!(before > 0)) continue;
    const double after = facts_of(mesh).volume;
    if (!(after > 0)) continue;
    const auto factor = static_cast<float>(std::cbrt(before / after));
    const Vec3f middle = box_of(mesh).center();
    for (Vec3f& p : mesh.positions) p = middle + (p - middle) * factor;
  }
}

}  // namespace eg4d::mesh
