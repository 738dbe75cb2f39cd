#include "support/creature.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "mesh/iso_surface.h"
#include "random/random.h"
#include "support/mesh_distance.h"

namespace eg4d::test {

using mesh::Vec3f;

namespace {

struct Capsule {
  Vec3f from, to;
  float radius;
};

constexpr Capsule kParts[] = {{{-0.42f, 0, 0}, {0.3f, 0, 0.02f}, 0.24f},               // body
                              {{0.25f, 0, 0.1f}, {0.5f, 0, 0.32f}, 0.12f},             // neck
                              {{0.58f, 0, 0.38f}, {0.7f, 0, 0.36f}, 0.16f},            // head
                              {{-0.6f, 0, 0.1f}, {-0.9f, 0, 0.3f}, 0.06f},             // tail
                              {{0.25f, 0.17f, -0.1f}, {0.27f, 0.2f, -0.55f}, 0.075f},  // legs
                              {{0.25f, -0.17f, -0.1f}, {0.27f, -0.2f, -0.55f}, 0.075f},
                              {{-0.38f, 0.17f, -0.1f}, {-0.4f, 0.2f, -0.55f}, 0.075f},
                              {{-0.38f, -0.17f, -0.1f}, {-0.4f, -0.2f, -0.55f}, 0.075f}};

float capsule_distance(Vec3f p, const Capsule& c) {
  const Vec3f axis = c.to - c.from, offset = p - c.from;
  const float along = std::clamp(dot(offset, axis) / dot(axis, axis), 0.f, 1.f);
  return length(offset - axis * along) - c.radius;
}

Vec3f gradient(Vec3f p) {
  constexpr float h = 1e-3f;
  const auto d = [&](Vec3f step) { return creature_distance(p + step) - creature_distance(p + step * -1.f); };
  return normalized(Vec3f{d({h, 0, 0}), d({0, h, 0}), d({0, 0, h})});
}

Vec3f onto_surface(Vec3f p) {
  for (int i = 0; i < 4; ++i) p += gradient(p) * -creature_distance(p);
  return p;
}

std::array<float, 4> quaternion_of(Vec3f x, Vec3f y, Vec3f z) {
  // The largest of the four squared components tells the others.
  const float squares[4] = {1 + x.x + y.y + z.z, 1 + x.x - y.y - z.z, 1 - x.x + y.y - z.z,
                            1 - x.x - y.y + z.z};
  const auto largest = static_cast<size_t>(std::max_element(squares, squares + 4) - squares);
  const float twice = std::sqrt(std::max(squares[largest], 1e-12f)), s = 0.5f / twice;
  switch (largest) {
    case 0:
      return {twice / 2, (y.z - z.y) * s, (z.x - x.z) * s, (x.y - y.x) * s};
    case 1:
      return {(y.z - z.y) * s, twice / 2, (x.y + y.x) * s, (z.x + x.z) * s};
    case 2:
      return {(z.x - x.z) * s, (x.y + y.x) * s, twice / 2, (y.z + z.y) * s};
    default:
      return {(x.y - y.x) * s, (z.x + x.z) * s, (y.z + z.y) * s, twice / 2};
  }
}

mesh::TriangleMesh rest_surface(int resolution) {
  const mesh::Lattice lattice =
      mesh::lattice_around({{-1.05f, -0.35f, -0.7f}, {0.95f, 0.35f, 0.6f}}, resolution);
  const auto field = [&](const mesh::BlockNumber& block, float* values) {
    for (int z = 0; z < mesh::kBlockPoints; ++z)
      for (int y = 0; y < mesh::kBlockPoints; ++y)
        for (int x = 0; x < mesh::kBlockPoints; ++x)
          *values++ = -creature_distance(lattice.at(block[0] * mesh::kBlock + x, block[1] * mesh::kBlock + y,
                                                    block[2] * mesh::kBlock + z));
  };
  std::vector<mesh::BlockNumber> all;
  const auto counts = mesh::block_counts(lattice);
  for (int z = 0; z < counts[2]; ++z)
    for (int y = 0; y < counts[1]; ++y)
      for (int x = 0; x < counts[0]; ++x) all.push_back({x, y, z});
  mesh::TriangleMesh surface = mesh::iso_surface(lattice, 0, field, all);
  for (Vec3f& p : surface.positions) p = onto_surface(p);
  return surface;
}

}  // namespace

float creature_distance(Vec3f p) {
  constexpr float kBlend = 0.06f;
  float distance = capsule_distance(p, kParts[0]);
  for (size_t i = 1; i < std::size(kParts); ++i) {
    const float other = capsule_distance(p, kParts[i]);
    const float h = std::max(kBlend - std::abs(distance - other), 0.f) / kBlend;
    distance = std::min(distance, other) - h * h * kBlend / 4;
  }
  return distance;
}

Vec3f creature_moved(Vec3f p, float time) {
  const float phase = 2 * std::numbers::pi_v<float> * time;
  const float below = std::max(-p.z - 0.15f, 0.f);
  p.x += 0.9f * std::sin(phase + 0.4f) * below * below * std::tanh(20 * p.y) * std::tanh(6 * p.x);
  const float turn = 0.8f * std::sin(phase + 0.2f) * p.x;
  const float c = std::cos(turn), s = std::sin(turn);
  return {c * p.x - s * p.y, s * p.x + c * p.y, p.z + 0.15f * std::sin(phase) * p.x * p.x};
}

mesh::AnimatedMesh creature_surface(int resolution, const std::vector<float>& times) {
  mesh::AnimatedMesh animated;
  animated.times = times;
  const mesh::TriangleMesh rest = rest_surface(resolution);
  for (const float time : times) {
    std::vector<Vec3f> positions = rest.positions;
    for (Vec3f& p : positions) p = creature_moved(p, time);
    animated.normals.push_back(vertex_normals(positions, rest.triangles));
    animated.positions.push_back(std::move(positions));
  }
  animated.reference = rest;
  animated.reference.positions = animated.positions[0];
  animated.reference.normals = animated.normals[0];
  return animated;
}

mesh::Moments creature_gaussians(int count, bool noise, const std::vector<float>& times) {
  const mesh::TriangleMesh rest = rest_surface(160);
  const std::vector<SurfaceSample> samples = sample_surface(rest, static_cast<size_t>(count), 11);
  Philox random(5);
  double area = 0;
  for (const auto& [a, b, c] : rest.triangles)
    area += length(cross(rest.positions[b] - rest.positions[a], rest.positions[c] - rest.positions[a])) / 2.0;
  const float size = 1.1f * static_cast<float>(std::sqrt(area / count));
  struct Rest {
    Vec3f place, right, up, out, scale;
    float opacity;
    bool floats;
  };
  std::vector<Rest> all;
  for (const SurfaceSample& sample : samples) {
    Rest r;
    const Vec3f p = onto_surface(sample.position);
    r.out = gradient(p);
    r.right = normalized(cross(std::abs(r.out.z) < 0.9f ? Vec3f{0, 0, 1} : Vec3f{1, 0, 0}, r.out));
    r.up = cross(r.out, r.right);
    r.scale = {size, size, 0.35f * size};
    r.opacity = 0.95f;
    r.place = p + r.out * -r.scale.z;
    r.floats = false;
    if (noise) {
      r.scale = {size * std::exp(0.35f * random.normal()), size * std::exp(0.35f * random.normal()),
                 0.5f * size * std::exp(0.35f * random.normal())};
      r.opacity = 0.4f + 0.59f * random.uniform();
      r.place = p + r.out * (-r.scale.z + 0.35f * size * random.normal());
      const float kind = random.uniform();
      if (kind < 0.1f) r.place += r.out * (-0.1f * random.uniform());
      if (kind > 0.98f) {
        r.floats = true;
        r.place = {2.6f * (random.uniform() - 0.5f), 2.6f * (random.uniform() - 0.5f),
                   2.f * (random.uniform() - 0.5f)};
        r.opacity = 0.1f + 0.3f * random.uniform();
      }
    }
    all.push_back(r);
  }
  mesh::Moments moments;
  for (const float time : times) {
    mesh::Ellipsoids at;
    for (const Rest& r : all) {
      const auto moved = [&](Vec3f p) { return r.floats ? p : creature_moved(p, time); };
      const float h = 1e-2f;
      const Vec3f place = moved(r.place);
      const Vec3f x = normalized(moved(r.place + r.right * h) - place);
      Vec3f y = moved(r.place + r.up * h) - place;
      y = normalized(y + x * -dot(x, y));
      at.push_back(place, r.scale, quaternion_of(x, y, cross(x, y)), r.opacity);
    }
    moments.push_back(std::move(at));
  }
  return moments;
}

}  // namespace eg4d::test
