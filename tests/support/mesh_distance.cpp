#include "support/mesh_distance.h"

#include <algorithm>
#include <cmath>

#include "core/threads.h"
#include "mesh/point_tree.h"
#include "random/random.h"

namespace eg4d::test {

using mesh::TriangleMesh;
using mesh::Vec3f;

namespace {

constexpr size_t kNearest = 16;  // triangles, by their middles

// Ericson, Real-Time Collision Detection, 5.1.5.
Vec3f nearest_point(Vec3f p, Vec3f a, Vec3f b, Vec3f c) {
  const Vec3f ab = b - a, ac = c - a, ap = p - a;
  const float d1 = dot(ab, ap), d2 = dot(ac, ap);
  if (d1 <= 0 && d2 <= 0) return a;
  const Vec3f bp = p - b;
  const float d3 = dot(ab, bp), d4 = dot(ac, bp);
  if (d3 >= 0 && d4 <= d3) return b;
  const float vc = d1 * d4 - d3 * d2;
  if (vc <= 0 && d1 >= 0 && d3 <= 0) return a + ab * (d1 / (d1 - d3));
  const Vec3f cp = p - c;
  const float d5 = dot(ab, cp), d6 = dot(ac, cp);
  if (d6 >= 0 && d5 <= d6) return c;
  const float vb = d5 * d2 - d1 * d6;
  if (vb <= 0 && d2 >= 0 && d6 <= 0) return a + ac * (d2 / (d2 - d6));
  const float va = d3 * d6 - d5 * d4;
  if (va <= 0 && d4 - d3 >= 0 && d5 - d6 >= 0) return b + (c - b) * ((d4 - d3) / ((d4 - d3) + (d5 - d6)));
  const float scale = 1 / (va + vb + vc);
  return a + ab * (vb * scale) + ac * (vc * scale);
}

struct OneWay {
  double mean = 0, farthest = 0, cosine = 0;
};

OneWay one_way(const TriangleMesh& from, const TriangleMesh& to, size_t count) {
  std::vector<Vec3f> middles;
  for (const auto& [a, b, c] : to.triangles)
    middles.push_back((to.positions[a] + to.positions[b] + to.positions[c]) * (1 / 3.f));
  const mesh::PointTree tree(middles);
  const std::vector<SurfaceSample> samples = sample_surface(from, count, 3);
  std::vector<float> distances(count);
  std::vector<float> cosines(count);
  parallel_for(static_cast<int64_t>(count), 256, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      uint32_t near[kNearest];
      float squared[kNearest];
      const size_t found = tree.nearest(samples[i].position, kNearest, near, squared);
      float least = INFINITY;
      for (size_t k = 0; k < found; ++k) {
        const auto& [a, b, c] = to.triangles[near[k]];
        const Vec3f pa = to.positions[a], pb = to.positions[b], pc = to.positions[c];
        const float d = length(nearest_point(samples[i].position, pa, pb, pc) - samples[i].position);
        if (d >= least) continue;
        least = d;
        cosines[i] = dot(normalized(cross(pb - pa, pc - pa)), samples[i].normal);
      }
      distances[i] = least;
    }
  });
  OneWay result;
  for (size_t i = 0; i < count; ++i) {
    result.mean += distances[i] / static_cast<double>(count);
    result.cosine += cosines[i] / static_cast<double>(count);
  }
  std::sort(distances.begin(), distances.end());
  result.farthest = distances[count * 99 / 100];
  return result;
}

}  // namespace

std::vector<SurfaceSample> sample_surface(const TriangleMesh& surface, size_t count, uint64_t seed) {
  std::vector<double> areas;  // up to each triangle
  double sum = 0;
  for (const auto& [a, b, c] : surface.triangles) {
    const Vec3f pa = surface.positions[a];
    sum += length(cross(surface.positions[b] - pa, surface.positions[c] - pa));
    areas.push_back(sum);
  }
  Philox random(seed);
  std::vector<SurfaceSample> samples(count);
  for (size_t i = 0; i < count; ++i) {
    const double at = (static_cast<double>(i) + random.uniform()) / static_cast<double>(count) * sum;
    const auto t = static_cast<size_t>(std::lower_bound(areas.begin(), areas.end(), at) - areas.begin());
    const auto& [a, b, c] = surface.triangles[std::min(t, areas.size() - 1)];
    const Vec3f pa = surface.positions[a], ab = surface.positions[b] - pa, ac = surface.positions[c] - pa;
    float u = random.uniform(), v = random.uniform();
    if (u + v > 1) u = 1 - u, v = 1 - v;
    samples[i] = {pa + ab * u + ac * v, normalized(cross(ab, ac))};
  }
  return samples;
}

SurfaceDistance surface_distance(const TriangleMesh& surface, const TriangleMesh& truth, size_t samples) {
  const OneWay there = one_way(surface, truth, samples), back = one_way(truth, surface, samples);
  return {there.mean, back.mean, there.farthest, (there.cosine + back.cosine) / 2};
}

}  // namespace eg4d::test
