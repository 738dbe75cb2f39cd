#include "mesh/mesh_cleaning.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/text_layout.h"
#include "mesh/mesh_edges.h"
#include "mesh/point_tree.h"

namespace eg4d::mesh {
namespace {

using Triangle = std::array<uint32_t, 3>;

double signed_volume(const TriangleMesh& mesh, const Triangle& t, Vec3f origin) {
  const Vec3f a = mesh.positions[t[0]] - origin, b = mesh.positions[t[1]] - origin,
              c = mesh.positions[t[2]] - origin;
  return static_cast<double>(dot(a, cross(b, c))) / 6;
}

float doubled_area(const TriangleMesh& mesh, const Triangle& t) {
  return length(
      cross(mesh.positions[t[1]] - mesh.positions[t[0]], mesh.positions[t[2]] - mesh.positions[t[0]]));
}

void extend(Box& box, bool& any, Vec3f p) {
  if (!any) box = {p, p};
  any = true;
  box.least = {std::min(box.least.x, p.x), std::min(box.least.y, p.y), std::min(box.least.z, p.z)};
  box.most = {std::max(box.most.x, p.x), std::max(box.most.y, p.y), std::max(box.most.z, p.z)};
}

void keep_triangles(TriangleMesh& mesh, const std::vector<bool>& keep) {
  size_t kept = 0;
  for (size_t t = 0; t < mesh.triangles.size(); ++t)
    if (keep[t]) mesh.triangles[kept++] = mesh.triangles[t];
  mesh.triangles.resize(kept);
  drop_unused(mesh);
}

// The loops along edges that have one triangle: positions in the direction in which the missing triangles
// would run.
std::vector<std::vector<uint32_t>> border_loops(const std::vector<HalfEdge>& edges) {
  std::multimap<uint32_t, uint32_t> next;
  for_each_edge(edges, [&](const HalfEdge* edge, size_t count) {
    if (count != 1) return;
    if (edge->forward)
      next.emplace(edge->high, edge->low);
    else
      next.emplace(edge->low, edge->high);
  });
  std::vector<std::vector<uint32_t>> loops;
  while (!next.empty()) {
    std::vector<uint32_t> path;
    std::map<uint32_t, size_t> place;  // on the path
    uint32_t at = next.begin()->first;
    for (;;) {
      const auto seen = place.find(at);
      if (seen != place.end()) {  // a loop closes; what led to it goes on
        loops.emplace_back(path.begin() + static_cast<ptrdiff_t>(seen->second), path.end());
        for (size_t i = seen->second; i < path.size(); ++i) place.erase(path[i]);
        path.resize(path.size() - loops.back().size());
      }
      const auto step = next.find(at);
      if (step == next.end()) break;
      place[at] = path.size();
      path.push_back(at);
      at = step->second;
      next.erase(step);
    }
  }
  return loops;
}

}  // namespace

Box box_of(const TriangleMesh& mesh) {
  Box box;
  bool any = false;
  for (const Vec3f& p : mesh.positions) extend(box, any, p);
  return box;
}

Pieces pieces_of(const TriangleMesh& mesh) {
  DisjointSets sets(mesh.triangles.size());
  for_each_edge(sorted_half_edges(mesh.triangles), [&](const HalfEdge* edge, size_t count) {
    for (size_t i = 1; i < count; ++i) sets.join(edge[0].triangle, edge[i].triangle);
  });
  Pieces pieces;
  pieces.of_triangle.resize(mesh.triangles.size());
  for (uint32_t t = 0; t < pieces.of_triangle.size(); ++t) {
    const uint32_t root = sets.root(t);
    pieces.of_triangle[t] = root == t ? static_cast<uint32_t>(pieces.count++) : pieces.of_triangle[root];
  }
  return pieces;
}

MeshFacts facts_of(const TriangleMesh& mesh) {
  MeshFacts facts;
  facts.faces = mesh.triangles.size();
  facts.positions = mesh.positions.size();
  facts.pieces = pieces_of(mesh).count;
  const std::vector<HalfEdge> edges = sorted_half_edges(mesh.triangles);
  for_each_edge(edges, [&](const HalfEdge* edge, size_t count) {
    if (count > 2 || (count == 2 && edge[0].forward == edge[1].forward)) ++facts.crossed;
  });
  facts.holes = border_loops(edges).size();
  if (facts.watertight()) {
    const Vec3f origin = box_of(mesh).center();
    for (const Triangle& t : mesh.triangles) facts.volume += signed_volume(mesh, t, origin);
  }
  return facts;
}

std::string facts_text(const MeshFacts& facts) {
  std::string text = counted(static_cast<int64_t>(facts.faces), "face") + ", " +
                     counted(static_cast<int64_t>(facts.pieces), "piece") + ", ";
  if (facts.watertight()) return text + "watertight";
  text += counted(static_cast<int64_t>(facts.holes), "hole");
  if (facts.crossed > 0)
    text += ", " + counted(static_cast<int64_t>(facts.crossed), "edge") + " of other than two faces";
  return text;
}

void keep_large_pieces(TriangleMesh& mesh, float diameter, size_t faces, bool fill) {
  const Pieces pieces = pieces_of(mesh);
  struct Piece {
    Box box;
    bool any = false;
    size_t faces = 0;
    double volume = 0;
  };
  std::vector<Piece> all(pieces.count);
  const Box whole = box_of(mesh);
  for (size_t t = 0; t < mesh.triangles.size(); ++t) {
    Piece& piece = all[pieces.of_triangle[t]];
    ++piece.faces;
    piece.volume += signed_volume(mesh, mesh.triangles[t], whole.center());
    for (const uint32_t corner : mesh.triangles[t]) extend(piece.box, piece.any, mesh.positions[corner]);
  }
  float largest = 0;
  for (const Piece& piece : all) largest = std::max(largest, length(piece.box.size()));
  const float least = diameter * length(whole.size());
  const auto wanted = [&](const Piece& piece) {
    const float size = length(piece.box.size());
    if (size >= largest) return true;
    return size >= least && piece.faces >= faces && !(fill && piece.volume < 0);
  };
  std::vector<bool> keep(mesh.triangles.size());
  for (size_t t = 0; t < keep.size(); ++t) keep[t] = wanted(all[pieces.of_triangle[t]]);
  keep_triangles(mesh, keep);
}

void drop_unused(TriangleMesh& mesh) {
  mesh.normals.clear();
  mesh.uvs.clear();
  std::vector<bool> used(mesh.positions.size());
  for (const Triangle& t : mesh.triangles)
    for (const uint32_t corner : t) used[corner] = true;
  std::vector<uint32_t> number(mesh.positions.size());
  uint32_t kept = 0;
  for (size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) continue;
    number[i] = kept;
    mesh.positions[kept++] = mesh.positions[i];
  }
  mesh.positions.resize(kept);
  for (Triangle& t : mesh.triangles)
    for (uint32_t& corner : t) corner = number[corner];
}

void drop_degenerate(TriangleMesh& mesh) {
  std::vector<bool> keep(mesh.triangles.size());
  struct Corners {
    Triangle sorted;
    size_t triangle;
    bool even;  // the order that it had turns into the sorted one by turning round
  };
  std::vector<Corners> all;
  for (size_t t = 0; t < keep.size(); ++t) {
    const Triangle& c = mesh.triangles[t];
    keep[t] = c[0] != c[1] && c[1] != c[2] && c[2] != c[0] && doubled_area(mesh, c) > 0;
    if (!keep[t]) continue;
    Triangle sorted = c;
    std::sort(sorted.begin(), sorted.end());
    const bool even = (c[0] < c[1]) + (c[1] < c[2]) + (c[2] < c[0]) == 2;
    all.push_back({sorted, t, even});
  }
  std::sort(all.begin(), all.end(), [](const Corners& a, const Corners& b) {
    return a.sorted != b.sorted ? a.sorted < b.sorted : a.triangle < b.triangle;
  });
  for (size_t begin = 0; begin < all.size();) {
    size_t end = begin + 1;
    while (end < all.size() && all[end].sorted == all[begin].sorted) ++end;
    int balance = 0;
    for (size_t i = begin; i < end; ++i) balance += all[i].even ? 1 : -1;
    bool first = true;
    for (size_t i = begin; i < end; ++i) {
      const bool of_the_more = balance > 0 ? all[i].even : balance < 0 && !all[i].even;
      keep[all[i].triangle] = of_the_more && first;
      if (of_the_more) first = false;
    }
    begin = end;
  }
  keep_triangles(mesh, keep);
}

void merge_close(TriangleMesh& mesh, float distance) {
  const PointTree tree(mesh.positions);
  constexpr uint32_t kFree = ~0U;
  std::vector<uint32_t> becomes(mesh.positions.size(), kFree);
  std::vector<std::pair<uint32_t, float>> near;
  for (uint32_t i = 0; i < becomes.size(); ++i) {
    if (becomes[i] != kFree) continue;
    tree.within(mesh.positions[i], distance, near);
    becomes[i] = i;
    for (const auto& [other, squared] : near)
      if (becomes[other] == kFree) becomes[other] = i;
  }
  for (Triangle& t : mesh.triangles)
    for (uint32_t& corner : t) corner = becomes[corner];
  drop_degenerate(mesh);
}

void repair_crossed(TriangleMesh& mesh) {
  // Edges: the two largest triangles that agree stay.
  std::vector<bool> keep(mesh.triangles.size(), true);
  for_each_edge(sorted_half_edges(mesh.triangles), [&](const HalfEdge* edge, size_t count) {
    const HalfEdge* best[2] = {nullptr, nullptr};
    for (size_t i = 0; i < count; ++i) {
      const HalfEdge*& mine = best[edge[i].forward];
      if (!mine || doubled_area(mesh, mesh.triangles[edge[i].triangle]) >
                       doubled_area(mesh, mesh.triangles[mine->triangle]))
        mine = edge + i;
    }
    for (size_t i = 0; i < count; ++i)
      if (edge + i != best[0] && edge + i != best[1]) keep[edge[i].triangle] = false;
  });
  keep_triangles(mesh, keep);
  // Points: triangles around one are of one fan when edges lead from each to the others.
  DisjointSets sets(3 * mesh.triangles.size());  // of corners
  const std::vector<HalfEdge> edges = sorted_half_edges(mesh.triangles);
  for_each_edge(edges, [&](const HalfEdge* edge, size_t count) {
    if (count != 2) return;
    const auto corner = [](const HalfEdge& e, bool of_low) {
      return 3 * e.triangle + (of_low == e.forward ? e.side : (e.side + 1U) % 3);
    };
    for (const bool of_low : {true, false}) sets.join(corner(edge[0], of_low), corner(edge[1], of_low));
  });
  std::vector<uint32_t> fan(mesh.positions.size(), ~0U);
  std::map<uint32_t, uint32_t> parted;  // the root of a second fan: its own position
  for (uint32_t t = 0; t < mesh.triangles.size(); ++t)
    for (uint32_t k = 0; k < 3; ++k) {
      uint32_t& position = mesh.triangles[t][k];
      const uint32_t root = sets.root(3 * t + k);
      if (fan[position] == ~0U) fan[position] = root;
      if (fan[position] == root) continue;
      const auto [own, is_new] = parted.emplace(root, static_cast<uint32_t>(mesh.positions.size()));
      if (is_new) {
        const Vec3f copy = mesh.positions[position];
        mesh.positions.push_back(copy);
        fan.push_back(root);
      }
      position = own->second;
    }
}

void fill_holes(TriangleMesh& mesh) {
  mesh.normals.clear();
  mesh.uvs.clear();
  for (const std::vector<uint32_t>& loop : border_loops(sorted_half_edges(mesh.triangles))) {
    if (loop.size() < 3) continue;
    if (loop.size() == 3) {
      mesh.triangles.push_back({loop[0], loop[1], loop[2]});
      continue;
    }
    Vec3f middle;
    for (const uint32_t i : loop) middle += mesh.positions[i];
    const auto center = static_cast<uint32_t>(mesh.positions.size());
    mesh.positions.push_back(middle * (1 / static_cast<float>(loop.size())));
    for (size_t i = 0; i < loop.size(); ++i)
      mesh.triangles.push_back({loop[i], loop[(i + 1) % loop.size()], center});
  }
}

}  // namespace eg4d::mesh
