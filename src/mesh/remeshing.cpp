#include "mesh/remeshing.h"

#include <algorithm>
#include <cmath>

#include "mesh/mesh_cleaning.h"
#include "mesh/mesh_edges.h"
#include "mesh/mesh_smoothing.h"
#include "mesh/point_tree.h"

namespace eg4d::mesh {
namespace {

using Triangle = std::array<uint32_t, 3>;

constexpr int kMostSplits = 6;  // of an edge, into halves each
constexpr uint32_t kNone = ~0U;

Vec3f area_normal(const Vec3f& a, const Vec3f& b, const Vec3f& c) {
  return cross(b - a, c - a);
}

// Every edge longer than `most` is halved; returns whether there was one.
bool split_long_edges(TriangleMesh& mesh, float most) {
  std::vector<std::array<uint32_t, 3>> middle(mesh.triangles.size(), {kNone, kNone, kNone});
  bool any = false;
  for_each_edge(sorted_half_edges(mesh.triangles), [&](const HalfEdge* edge, size_t count) {
    const Vec3f a = mesh.positions[edge->low], b = mesh.positions[edge->high];
    if (length(b - a) <= most) return;
    any = true;
    for (size_t i = 0; i < count; ++i)
      middle[edge[i].triangle][edge[i].side] = static_cast<uint32_t>(mesh.positions.size());
    mesh.positions.push_back((a + b) * 0.5f);
  });
  const size_t before = mesh.triangles.size();
  for (size_t t = 0; t < before; ++t) {
    const auto& m = middle[t];
    const auto halves = 3 - std::count(m.begin(), m.end(), kNone);
    if (halves == 0) continue;
    // Turned such that side 0 is halved and, of two, side 1 as well.
    size_t first = 0;
    while (m[first] == kNone || (halves == 2 && m[(first + 1) % 3] == kNone)) ++first;
    const Triangle old = mesh.triangles[t];
    const uint32_t a = old[first], b = old[(first + 1) % 3], c = old[(first + 2) % 3];
    const uint32_t ab = m[first], bc = m[(first + 1) % 3], ca = m[(first + 2) % 3];
    if (halves == 1) {
      mesh.triangles[t] = {a, ab, c};
      mesh.triangles.push_back({ab, b, c});
    } else if (halves == 2) {
      mesh.triangles[t] = {ab, b, bc};
      mesh.triangles.push_back({a, ab, bc});
      mesh.triangles.push_back({a, bc, c});
    } else {
      mesh.triangles[t] = {ab, bc, ca};
      mesh.triangles.push_back({a, ab, ca});
      mesh.triangles.push_back({b, bc, ab});
      mesh.triangles.push_back({c, ca, bc});
    }
  }
  return any;
}

// A mesh whose triangles around a position are known while it changes.
class Editor {
 public:
  explicit Editor(TriangleMesh& mesh) : mesh_(mesh), around_(mesh.positions.size()), border_(around_.size()) {
    for (uint32_t t = 0; t < mesh.triangles.size(); ++t)
      for (const uint32_t corner : mesh.triangles[t]) around_[corner].push_back(t);
    for_each_edge(sorted_half_edges(mesh.triangles), [&](const HalfEdge* edge, size_t count) {
      edges_.push_back({edge->low, edge->high});
      if (count != 2) border_[edge->low] = border_[edge->high] = true;
    });
  }

  void collapse_short_edges(float least, float most) {
    std::vector<std::pair<float, size_t>> order;
    for (size_t i = 0; i < edges_.size(); ++i) {
      const float l = length(mesh_.positions[edges_[i][1]] - mesh_.positions[edges_[i][0]]);
      if (l < least) order.emplace_back(l, i);
    }
    std::sort(order.begin(), order.end());
    for (const auto& [l, i] : order) collapse(edges_[i][0], edges_[i][1], least, most);
    std::vector<Triangle> kept;
    for (const Triangle& t : mesh_.triangles)
      if (t[0] != kNone) kept.push_back(t);
    mesh_.triangles = std::move(kept);
    drop_unused(mesh_);
  }

  // An edge between two triangles becomes the other diagonal where its ends have too many neighbours.
  void turn_edges() {
    for (const auto& [a, b] : edges_) turn(a, b);
  }

 private:
  static bool has(const Triangle& t, uint32_t corner) {
    return t[0] == corner || t[1] == corner || t[2] == corner;
  }
  static uint32_t third(const Triangle& t, uint32_t a, uint32_t b) {
    for (const uint32_t corner : t)
      if (corner != a && corner != b) return corner;
    return kNone;
  }

  std::vector<uint32_t> neighbors(uint32_t of) const {
    std::vector<uint32_t> all;
    for (const uint32_t t : around_[of])
      for (const uint32_t corner : mesh_.triangles[t])
        if (corner != of) all.push_back(corner);
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
  }

  // The two triangles at the edge, that from a to b first; false where there are not two.
  bool at_edge(uint32_t a, uint32_t b, std::array<uint32_t, 2>& sides) const {
    size_t found = 0;
    for (const uint32_t t : around_[a]) {
      const Triangle& c = mesh_.triangles[t];
      if (!has(c, b)) continue;
      if (found++ == 2) return false;
      const bool forward = (c[0] == a && c[1] == b) || (c[1] == a && c[2] == b) || (c[2] == a && c[0] == b);
      sides[forward ? 0 : 1] = t;
    }
    return found == 2 && sides[0] != sides[1];
  }

  void collapse(uint32_t a, uint32_t b, float least, float most) {
    if (border_[a] || border_[b] || around_[a].empty() || around_[b].empty()) return;
    const Vec3f from = mesh_.positions[a], to = mesh_.positions[b], middle = (from + to) * 0.5f;
    if (length(to - from) >= least) return;
    std::array<uint32_t, 2> sides{};
    if (!at_edge(a, b, sides)) return;
    const std::vector<uint32_t> of_a = neighbors(a), of_b = neighbors(b);
    std::vector<uint32_t> common;
    std::set_intersection(of_a.begin(), of_a.end(), of_b.begin(), of_b.end(), std::back_inserter(common));
    if (common.size() != 2 || of_a.size() + of_b.size() < 8) return;
    for (const auto* list : {&of_a, &of_b})
      for (const uint32_t n : *list)
        if (n != a && n != b && length(mesh_.positions[n] - middle) > most) return;
    for (const uint32_t end : {a, b})
      for (const uint32_t t : around_[end]) {
        if (t == sides[0] || t == sides[1]) continue;
        std::array<Vec3f, 3> before, after;
        for (size_t k = 0; k < 3; ++k) {
          const uint32_t corner = mesh_.triangles[t][k];
          before[k] = mesh_.positions[corner];
          after[k] = corner == end ? middle : before[k];
        }
        const Vec3f n = area_normal(before[0], before[1], before[2]),
                    m = area_normal(after[0], after[1], after[2]);
        if (!(dot(n, m) > 0.2f * length(n) * length(m))) return;
      }
    mesh_.positions[a] = middle;
    for (const uint32_t t : sides) {
      for (const uint32_t corner : mesh_.triangles[t])
        if (corner != b) std::erase(around_[corner], t);
      mesh_.triangles[t] = {kNone, kNone, kNone};
    }
    for (const uint32_t t : around_[b]) {
      if (t == sides[0] || t == sides[1]) continue;
      for (uint32_t& corner : mesh_.triangles[t])
        if (corner == b) corner = a;
      around_[a].push_back(t);
    }
    around_[b].clear();
  }

  void turn(uint32_t a, uint32_t b) {
    std::array<uint32_t, 2> sides{};
    if (!at_edge(a, b, sides)) return;
    const uint32_t c = third(mesh_.triangles[sides[0]], a, b), d = third(mesh_.triangles[sides[1]], a, b);
    if (c == d) return;
    const auto excess = [&](uint32_t v, int change) {
      const int wanted = border_[v] ? 3 : 6;  // triangles
      return std::abs(static_cast<int>(around_[v].size()) + change - wanted);
    };
    const int before = excess(a, 0) + excess(b, 0) + excess(c, 0) + excess(d, 0);
    const int after = excess(a, -1) + excess(b, -1) + excess(c, 1) + excess(d, 1);
    if (after >= before || around_[a].size() < 4 || around_[b].size() < 4) return;
    for (const uint32_t t : around_[c])
      if (has(mesh_.triangles[t], d)) return;  // the other diagonal is an edge already
    const auto& p = mesh_.positions;
    const Vec3f old = area_normal(p[a], p[b], p[c]) + area_normal(p[b], p[a], p[d]);
    for (const Vec3f n : {area_normal(p[a], p[d], p[c]), area_normal(p[d], p[b], p[c])})
      if (!(dot(n, old) > 0.5f * length(n) * length(old))) return;
    mesh_.triangles[sides[0]] = {a, d, c};
    mesh_.triangles[sides[1]] = {d, b, c};
    std::erase(around_[b], sides[0]);
    std::erase(around_[a], sides[1]);
    around_[d].push_back(sides[0]);
    around_[c].push_back(sides[1]);
  }

  TriangleMesh& mesh_;
  std::vector<std::vector<uint32_t>> around_;  // triangles of each position
  std::vector<bool> border_;
  std::vector<std::array<uint32_t, 2>> edges_;  // of the beginning
};

std::vector<bool> on_border(const TriangleMesh& mesh) {
  std::vector<bool> border(mesh.positions.size());
  for_each_edge(sorted_half_edges(mesh.triangles), [&](const HalfEdge* edge, size_t count) {
    if (count != 2) border[edge->low] = border[edge->high] = true;
  });
  return border;
}

// To the middle of the neighbours along the surface, and back onto the plane of the first surface's nearest
// position.
void relax(TriangleMesh& mesh, const TriangleMesh& first, const std::vector<Vec3f>& first_normals,
           const PointTree& tree) {
  const std::vector<bool> border = on_border(mesh);
  std::vector<Vec3f> middles = mesh.positions;
  move_to_neighbors(middles, neighbors_of(middles.size(), mesh.triangles), 1);
  const std::vector<Vec3f> normals = vertex_normals(mesh.positions, mesh.triangles);
  for (size_t i = 0; i < middles.size(); ++i) {
    if (border[i]) continue;
    const Vec3f step = middles[i] - mesh.positions[i];
    Vec3f p = mesh.positions[i] + step - normals[i] * dot(step, normals[i]);
    uint32_t nearest = 0;
    float squared = 0;
    tree.nearest(p, 1, &nearest, &squared);
    p += first_normals[nearest] * -dot(p - first.positions[nearest], first_normals[nearest]);
    mesh.positions[i] = p;
  }
}

}  // namespace

void remesh(TriangleMesh& mesh, float edge, int rounds) {
  mesh.normals.clear();
  mesh.uvs.clear();
  const TriangleMesh first = mesh;
  const std::vector<Vec3f> first_normals = vertex_normals(first.positions, first.triangles);
  const PointTree tree(first.positions);
  const float most = edge * 4 / 3, least = edge * 4 / 5;
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < kMostSplits && split_long_edges(mesh, most); ++i) {
    }
    Editor(mesh).collapse_short_edges(least, most);
    Editor(mesh).turn_edges();
    relax(mesh, first, first_normals, tree);
  }
}

}  // namespace eg4d::mesh
