#include "mesh/carried_surface.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/threads.h"
#include "mesh/mesh_smoothing.h"
#include "mesh/point_tree.h"

namespace eg4d::mesh {
namespace {

constexpr size_t kNearest = 16;    // Gaussians that move a position
constexpr size_t kSamples = 4000;  // Gaussians that are asked for the reference
constexpr size_t kSampleNearest = 8;
constexpr float kMinOpacity = 0.1f;
constexpr int kSmoothingRounds = 3;

// The rotation that takes the weighted points `from` nearest to `to` (both about their means), given the sums
// s[a][b] = Σ w·from_a·to_b: the largest eigenvector of Horn's matrix, by Jacobi's rotations.
std::array<float, 4> best_rotation(const double s[3][3]) {
  double m[4][4] = {{s[0][0] + s[1][1] + s[2][2], s[1][2] - s[2][1], s[2][0] - s[0][2], s[0][1] - s[1][0]},
                    {0, s[0][0] - s[1][1] - s[2][2], s[0][1] + s[1][0], s[2][0] + s[0][2]},
                    {0, 0, -s[0][0] + s[1][1] - s[2][2], s[1][2] + s[2][1]},
                    {0, 0, 0, -s[0][0] - s[1][1] + s[2][2]}};
  double v[4][4] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}};
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < i; ++j) m[i][j] = m[j][i];
  for (int sweep = 0; sweep < 12; ++sweep) {
    double off = 0, on = 0;
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) (i == j ? on : off) += m[i][j] * m[i][j];
    if (off <= 1e-18 * on || on == 0) break;
    for (int p = 0; p < 3; ++p)
      for (int q = p + 1; q < 4; ++q) {
        if (m[p][q] == 0) continue;
        const double theta = (m[q][q] - m[p][p]) / (2 * m[p][q]);
        const double t = (theta < 0 ? -1 : 1) / (std::abs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1), n = t * c;
        for (int k = 0; k < 4; ++k) {
          const double a = m[k][p], b = m[k][q];
          m[k][p] = c * a - n * b, m[k][q] = n * a + c * b;
        }
        for (int k = 0; k < 4; ++k) {
          const double a = m[p][k], b = m[q][k];
          m[p][k] = c * a - n * b, m[q][k] = n * a + c * b;
        }
        for (int k = 0; k < 4; ++k) {
          const double a = v[k][p], b = v[k][q];
          v[k][p] = c * a - n * b, v[k][q] = n * a + c * b;
        }
      }
  }
  int largest = 0;
  for (int i = 1; i < 4; ++i)
    if (m[i][i] > m[largest][largest]) largest = i;
  std::array<float, 4> q{};
  for (size_t i = 0; i < 4; ++i) q[i] = static_cast<float>(v[i][largest]);
  return q;
}

std::vector<uint32_t> opaque_rows(const Ellipsoids& ellipsoids) {
  std::vector<uint32_t> rows;
  for (uint32_t i = 0; i < ellipsoids.count(); ++i)
    if (ellipsoids.opacities[i] >= kMinOpacity) rows.push_back(i);
  if (rows.empty())
    for (uint32_t i = 0; i < ellipsoids.count(); ++i) rows.push_back(i);
  return rows;
}

// The Gaussians that move a position, and how much each.
struct Guides {
  std::array<uint32_t, kNearest> rows{};
  std::array<float, kNearest> weights{};
  size_t count = 0;
};

std::vector<Guides> guides_of(const std::vector<Vec3f>& positions, const Ellipsoids& reference) {
  const std::vector<uint32_t> rows = opaque_rows(reference);
  const std::vector<Vec3f> centers = select(reference, rows).means;
  const PointTree tree(centers);
  std::vector<Guides> guides(positions.size());
  parallel_for(static_cast<int64_t>(positions.size()), 512, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      Guides& g = guides[i];
      float squared[kNearest];
      g.count = tree.nearest(positions[i], kNearest, g.rows.data(), squared);
      // A bell as wide as the farther half is away, so that no neighbour comes or goes with a jump.
      const float width = std::max(squared[g.count - 1] / 2, 1e-12f);
      for (size_t k = 0; k < g.count; ++k) {
        g.rows[k] = rows[g.rows[k]];
        g.weights[k] = reference.opacities[g.rows[k]] * std::exp(-squared[k] / width);
      }
    }
  });
  return guides;
}

Vec3f rotated(const Rotation& columns, Vec3f p) {
  return columns[0] * p.x + columns[1] * p.y + columns[2] * p.z;
}

// Rotations (their columns) and shifts of all positions: each is where the first three take it, plus the
// last.
using Motions = std::array<std::vector<Vec3f>, 4>;

void fit_motion(const Guides& guides, const Ellipsoids& from, const Ellipsoids& to, size_t position,
                Motions& motions) {
  float weights = 0;
  Vec3f middle_from, middle_to;
  for (size_t k = 0; k < guides.count; ++k) {
    weights += guides.weights[k];
    middle_from += from.means[guides.rows[k]] * guides.weights[k];
    middle_to += to.means[guides.rows[k]] * guides.weights[k];
  }
  middle_from = middle_from * (1 / weights);
  middle_to = middle_to * (1 / weights);
  double s[3][3] = {};
  for (size_t k = 0; k < guides.count; ++k) {
    const Vec3f a = from.means[guides.rows[k]] - middle_from, b = to.means[guides.rows[k]] - middle_to;
    for (size_t i = 0; i < 3; ++i)
      for (size_t j = 0; j < 3; ++j)
        s[i][j] += static_cast<double>(guides.weights[k]) * a.data()[i] * b.data()[j];
  }
  const Rotation rotation = rotation_matrix(best_rotation(s));
  for (size_t k = 0; k < 3; ++k) motions[k][position] = rotation[k];
  motions[3][position] = middle_to - rotated(rotation, middle_from);
}

// How much neighbours at one moment come apart at the others: the mean of the largest growth of their
// distances, in those distances.
double growth(const Moments& moments, size_t of, const std::vector<uint32_t>& rows) {
  const std::vector<Vec3f> centers = select(moments[of], rows).means;
  const PointTree tree(centers);
  const size_t step = std::max<size_t>(centers.size() / kSamples, 1);
  const size_t samples = (centers.size() + step - 1) / step;
  std::vector<double> grown(samples, 0);
  parallel_for(static_cast<int64_t>(samples), 64, [&](int64_t begin, int64_t end) {
    for (auto n = static_cast<size_t>(begin); n < static_cast<size_t>(end); ++n) {
      const size_t i = n * step;
      uint32_t near[kSampleNearest];
      float squared[kSampleNearest];
      const size_t found = tree.nearest(centers[i], kSampleNearest, near, squared);
      const float apart = std::sqrt(squared[found - 1]);
      if (!(apart > 0)) continue;
      for (size_t k = 0; k < found; ++k) {
        float most = 0;
        for (const Ellipsoids& other : moments)
          most = std::max(most, length(other.means[rows[near[k]]] - other.means[rows[i]]));
        grown[n] += std::min(std::max(most - std::sqrt(squared[k]), 0.f) / apart, 10.f);
      }
    }
  });
  double sum = 0;
  for (const double g : grown) sum += g;
  return sum;
}

}  // namespace

size_t reference_moment(const Moments& moments) {
  const std::vector<uint32_t> rows = opaque_rows(moments.at(0));
  size_t best = 0;
  double least = 0;
  for (size_t i = 0; i < moments.size(); ++i) {
    if (interrupt_requested()) throw Interrupted("stopped before the surface was complete");
    const double grown = growth(moments, i, rows);
    if (i > 0 && grown >= least) continue;
    least = grown;
    best = i;
  }
  return best;
}

AnimatedMesh carry_surface(const TriangleMesh& surface, const Moments& moments, size_t reference,
                           const std::vector<float>& times) {
  AnimatedMesh animated;
  animated.reference = surface;
  animated.times = times;
  const std::vector<Guides> guides = guides_of(surface.positions, moments.at(reference));
  const Neighbors neighbors = neighbors_of(surface.positions.size(), surface.triangles);
  for (size_t m = 0; m < moments.size(); ++m) {
    if (interrupt_requested()) throw Interrupted("stopped before the surface was carried to all times");
    std::vector<Vec3f> positions = surface.positions;
    if (m != reference) {
      Motions motions;
      for (std::vector<Vec3f>& part : motions) part.resize(positions.size());
      parallel_for(static_cast<int64_t>(positions.size()), 512, [&](int64_t begin, int64_t end) {
        for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
          fit_motion(guides[i], moments[reference], moments[m], i, motions);
      });
      // Motions rather than displacements: the mean of equal motions is that motion.
      for (std::vector<Vec3f>& part : motions)
        for (int round = 0; round < kSmoothingRounds; ++round) move_to_neighbors(part, neighbors, 0.5f);
      for (size_t i = 0; i < positions.size(); ++i)
        positions[i] = rotated({motions[0][i], motions[1][i], motions[2][i]}, positions[i]) + motions[3][i];
    }
    animated.normals.push_back(vertex_normals(positions, surface.triangles));
    animated.positions.push_back(std::move(positions));
  }
  return animated;
}

}  // namespace eg4d::mesh
