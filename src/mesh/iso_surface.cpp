#include "mesh/iso_surface.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/threads.h"
#include "mesh/cube_cases.h"

namespace eg4d::mesh {
namespace {

constexpr size_t kBlocksAtOnce = 4096;    // between looks for Ctrl-C
constexpr float kNearestToPoint = 0.01f;  // of a vertex, in edges: no triangle without an area

// A vertex of the surface by its lattice edge: 3·(number of the lower point) + axis.
struct BlockVertex {
  uint64_t edge;
  Vec3f position;
};

struct BlockSurface {
  std::vector<BlockVertex> vertices;
  std::vector<std::array<uint32_t, 3>> triangles;  // of this block's vertices
  bool runs_on[6] = {};                            // over -x, +x, -y, +y, -z, +z
};

size_t value_index(int x, int y, int z) {
  return static_cast<size_t>((z * kBlockPoints + y) * kBlockPoints + x);
}

class BlockMarch {
 public:
  BlockMarch(const Lattice& lattice, float level) : lattice_(lattice), level_(level) {}

  BlockSurface march(const BlockNumber& block, const BlockField& field) {
    BlockSurface surface;
    for (size_t axis = 0; axis < 3; ++axis) {
      first_[axis] = block[axis] * kBlock;
      cells_[axis] = std::min(kBlock, lattice_.points[axis] - 1 - first_[axis]);
    }
    field(block, values_);
    close_the_border();
    std::fill(std::begin(vertex_of_edge_), std::end(vertex_of_edge_), kNoVertex);
    for (int z = 0; z < cells_[2]; ++z)
      for (int y = 0; y < cells_[1]; ++y)
        for (int x = 0; x < cells_[0]; ++x) cell(x, y, z, surface);
    return surface;
  }

 private:
  static constexpr uint32_t kNoVertex = ~0u;

  bool above(float value) const { return value > level_; }  // NaN is below

  void close_the_border() {
    const float below = level_ - 1;
    for (int z = 0; z <= cells_[2]; ++z)
      for (int y = 0; y <= cells_[1]; ++y)
        for (int x = 0; x <= cells_[0]; ++x) {
          const int at[3] = {x, y, z};
          for (size_t axis = 0; axis < 3; ++axis) {
            const int point = first_[axis] + at[axis];
            if (point == 0 || point == lattice_.points[axis] - 1) values_[value_index(x, y, z)] = below;
          }
        }
  }

  void cell(int x, int y, int z, BlockSurface& surface) {
    const CubeCases& cases = cube_cases();
    unsigned inside = 0;
    for (unsigned c = 0; c < 8; ++c) {
      const auto i = static_cast<int>(c);
      if (above(values_[value_index(x + (i & 1), y + (i >> 1 & 1), z + (i >> 2))])) inside |= 1u << c;
    }
    if (inside == 0 || inside == 255) return;
    for (const auto& triangle : cases.triangles[inside]) {
      std::array<uint32_t, 3> corners{};
      for (size_t k = 0; k < 3; ++k) corners[k] = vertex(x, y, z, cases.edges[triangle[k]], surface);
      surface.triangles.push_back(corners);
    }
    note_where_it_runs_on(x, y, z, inside, surface);
  }

  void note_where_it_runs_on(int x, int y, int z, unsigned inside, BlockSurface& surface) const {
    const int at[3] = {x, y, z};
    static constexpr unsigned kCornersAbove[3] = {0xaa, 0xcc, 0xf0};  // of the face at the axis's far side
    for (size_t axis = 0; axis < 3; ++axis)
      for (size_t side = 0; side < 2; ++side) {
        if (at[axis] != (side ? cells_[axis] - 1 : 0)) continue;
        const unsigned face = side ? kCornersAbove[axis] : 0xff ^ kCornersAbove[axis];
        if ((inside & face) != 0 && (inside & face) != face) surface.runs_on[2 * axis + side] = true;
      }
  }

  uint32_t vertex(int x, int y, int z, const CubeEdge& edge, BlockSurface& surface) {
    const int corner = edge.from;
    x += corner & 1, y += corner >> 1 & 1, z += corner >> 2;
    const size_t from = value_index(x, y, z);
    uint32_t& known = vertex_of_edge_[3 * from + edge.axis];
    if (known != kNoVertex) return known;
    known = static_cast<uint32_t>(surface.vertices.size());
    const int at[3] = {first_[0] + x, first_[1] + y, first_[2] + z};
    const size_t step = edge.axis == 0 ? 1 : edge.axis == 1 ? kBlockPoints : kBlockPoints * kBlockPoints;
    const float a = values_[from], b = values_[from + step];
    const float crossed = (level_ - a) / (b - a);  // NaN where a value is infinite
    const float along = crossed > kNearestToPoint ? std::min(crossed, 1 - kNearestToPoint) : kNearestToPoint;
    Vec3f position = lattice_.at(at[0], at[1], at[2]);
    position.data()[edge.axis] += lattice_.spacing * along;
    uint64_t point = 0;
    for (size_t axis = 3; axis-- > 0;)
      point = point * static_cast<uint64_t>(lattice_.points[axis]) + static_cast<uint64_t>(at[axis]);
    surface.vertices.push_back({3 * point + edge.axis, position});
    return known;
  }

  const Lattice& lattice_;
  const float level_;
  int first_[3] = {}, cells_[3] = {};
  float values_[kBlockValues] = {};
  uint32_t vertex_of_edge_[3 * static_cast<size_t>(kBlockValues)] = {};
};

// Vertices that blocks share become one.
TriangleMesh join(const std::vector<BlockSurface>& surfaces) {
  struct Place {
    uint64_t edge;
    uint32_t vertex;
  };
  std::vector<Place> places;
  std::vector<Vec3f> positions;
  for (const BlockSurface& surface : surfaces)
    for (const BlockVertex& vertex : surface.vertices) {
      places.push_back({vertex.edge, static_cast<uint32_t>(places.size())});
      positions.push_back(vertex.position);
    }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.edge != b.edge ? a.edge < b.edge : a.vertex < b.vertex;
  });
  TriangleMesh mesh;
  std::vector<uint32_t> number(places.size());
  for (size_t i = 0; i < places.size(); ++i) {
    if (i == 0 || places[i].edge != places[i - 1].edge) mesh.positions.push_back(positions[places[i].vertex]);
    number[places[i].vertex] = static_cast<uint32_t>(mesh.positions.size() - 1);
  }
  uint32_t first = 0;
  for (const BlockSurface& surface : surfaces) {
    for (const auto& [a, b, c] : surface.triangles)
      mesh.triangles.push_back({number[first + a], number[first + b], number[first + c]});
    first += static_cast<uint32_t>(surface.vertices.size());
  }
  return mesh;
}

}  // namespace

Lattice lattice_around(const Box& box, int resolution) {
  const float longest = box.longest_side();
  if (!std::isfinite(longest) || !(longest > 0))
    throw Error("there is no surface to make: the Gaussians have no size, or none that is finite");
  Lattice lattice;
  constexpr int kMargin = 2;
  lattice.spacing = longest / static_cast<float>(std::max(resolution - 1 - 2 * kMargin, 1));
  const Vec3f size = box.size();
  for (size_t axis = 0; axis < 3; ++axis) {
    const auto inner = static_cast<int>(std::ceil(size.data()[axis] / lattice.spacing));
    lattice.points[axis] = std::min(inner + 1 + 2 * kMargin, resolution);
  }
  const Vec3f half =
      Vec3f{static_cast<float>(lattice.points[0] - 1), static_cast<float>(lattice.points[1] - 1),
            static_cast<float>(lattice.points[2] - 1)} *
      (lattice.spacing / 2);
  lattice.origin = box.center() - half;
  return lattice;
}

std::array<int, 3> block_counts(const Lattice& lattice) {
  std::array<int, 3> counts{};
  for (size_t axis = 0; axis < 3; ++axis) counts[axis] = (lattice.points[axis] - 1 + kBlock - 1) / kBlock;
  return counts;
}

TriangleMesh iso_surface(const Lattice& lattice, float level, const BlockField& field,
                         std::vector<BlockNumber> seeds) {
  const std::array<int, 3> counts = block_counts(lattice);
  const auto number = [&](const BlockNumber& b) {
    return (static_cast<size_t>(b[2]) * static_cast<size_t>(counts[1]) + static_cast<size_t>(b[1])) *
               static_cast<size_t>(counts[0]) +
           static_cast<size_t>(b[0]);
  };
  std::vector<bool> known(static_cast<size_t>(counts[0]) * static_cast<size_t>(counts[1]) *
                          static_cast<size_t>(counts[2]));
  std::vector<BlockNumber> waiting;
  const auto add = [&](const BlockNumber& block) {
    for (size_t axis = 0; axis < 3; ++axis)
      if (block[axis] < 0 || block[axis] >= counts[axis]) return;
    if (known[number(block)]) return;
    known[number(block)] = true;
    waiting.push_back(block);
  };
  for (const BlockNumber& seed : seeds) add(seed);

  std::vector<BlockSurface> surfaces;
  size_t done = 0;
  while (done < waiting.size()) {
    if (interrupt_requested()) throw Interrupted("stopped before the surface was complete");
    const size_t batch = std::min(waiting.size() - done, kBlocksAtOnce);
    surfaces.resize(done + batch);
    parallel_for(static_cast<int64_t>(batch), 16, [&](int64_t begin, int64_t end) {
      BlockMarch march(lattice, level);
      for (int64_t i = begin; i < end; ++i) {
        const size_t at = done + static_cast<size_t>(i);
        surfaces[at] = march.march(waiting[at], field);
      }
    });
    for (const size_t end = done + batch; done < end; ++done)
      for (size_t side = 0; side < 6; ++side) {
        if (!surfaces[done].runs_on[side]) continue;
        BlockNumber neighbor = waiting[done];
        neighbor[side / 2] += side % 2 ? 1 : -1;
        add(neighbor);
      }
  }
  return join(surfaces);
}

}  // namespace eg4d::mesh
