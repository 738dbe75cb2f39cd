#include "mesh/texture_atlas.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "mesh/mesh_charts.h"
#include "support/expect_error.h"
#include "support/random_values.h"
#include "support/test_meshes.h"

namespace eg4d::mesh {
namespace {

struct Point {
  double x, y;
};
double side_of(Point a, Point b, Point p) {
  return (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x);
}
double doubled_area(Point a, Point b, Point c) {
  return side_of(a, b, c);
}

// The texture four times finer: how many triangles cover each point strictly.
int most_layers(const Atlas& atlas, int size) {
  const int side = 4 * size;
  std::vector<uint8_t> layers(static_cast<size_t>(side) * static_cast<size_t>(side), 0);
  int most = 0;
  for (const auto& triangle : atlas.mesh.triangles) {
    Point p[3];
    for (size_t k = 0; k < 3; ++k)
      p[k] = {double{atlas.mesh.uvs[triangle[k]].x} * side,
              (1 - double{atlas.mesh.uvs[triangle[k]].y}) * side};
    const auto [low_x, high_x] = std::minmax({p[0].x, p[1].x, p[2].x});
    const auto [low_y, high_y] = std::minmax({p[0].y, p[1].y, p[2].y});
    for (int y = static_cast<int>(low_y); y <= static_cast<int>(high_y); ++y)
      for (int x = static_cast<int>(low_x); x <= static_cast<int>(high_x); ++x) {
        const Point at{x + 0.5, y + 0.5};
        bool inside = true;
        for (int k = 0; k < 3; ++k)
          inside = inside && side_of(p[k], p[(k + 1) % 3], at) >
                                 1e-3 * std::hypot(p[(k + 1) % 3].x - p[k].x, p[(k + 1) % 3].y - p[k].y);
        if (inside)
          most = std::max<int>(
              most, ++layers[static_cast<size_t>(y) * static_cast<size_t>(side) + static_cast<size_t>(x)]);
      }
  }
  return most;
}

// Texels of each triangle for its area, relative to each other.
struct Density {
  double least = INFINITY, most = 0;
};
Density density_of(const Atlas& atlas) {
  Density density;
  for (const auto& [a, b, c] : atlas.mesh.triangles) {
    const auto& p = atlas.mesh.positions;
    const auto& uv = atlas.mesh.uvs;
    const double area = length(cross(p[b] - p[a], p[c] - p[a]));
    if (area < 1e-9) continue;
    const double texels = -doubled_area({uv[a].x, uv[a].y}, {uv[b].x, uv[b].y}, {uv[c].x, uv[c].y});
    density.least = std::min(density.least, texels / area);
    density.most = std::max(density.most, texels / area);
  }
  return density;
}

void expect_good(const TriangleMesh& mesh, const Atlas& atlas, int size) {
  ASSERT_EQ(atlas.mesh.triangles.size(), mesh.triangles.size());
  ASSERT_EQ(atlas.mesh.uvs.size(), atlas.mesh.positions.size());
  ASSERT_EQ(atlas.sources.size(), atlas.mesh.positions.size());
  for (size_t t = 0; t < mesh.triangles.size(); ++t)
    for (size_t k = 0; k < 3; ++k) ASSERT_EQ(atlas.sources[atlas.mesh.triangles[t][k]], mesh.triangles[t][k]);
  for (size_t i = 0; i < atlas.sources.size(); ++i) {
    ASSERT_EQ(atlas.mesh.positions[i], mesh.positions[atlas.sources[i]]);
    ASSERT_GE(std::min(atlas.mesh.uvs[i].x, atlas.mesh.uvs[i].y), 0);
    ASSERT_LE(std::max(atlas.mesh.uvs[i].x, atlas.mesh.uvs[i].y), 1);
  }
  EXPECT_EQ(most_layers(atlas, size), 1);
  const Density density = density_of(atlas);
  EXPECT_GT(density.least, 0) << "a triangle is turned over";
  EXPECT_LT(density.most / density.least, 1.85);
}

TEST(TextureAtlas, ATorusIsCoveredWithoutOverlapsAndEvenly) {
  const TriangleMesh mesh = test::torus_mesh(60, 30);
  const Atlas atlas = make_atlas(mesh, {.size = 512});
  expect_good(mesh, atlas, 512);
  EXPECT_LE(atlas.charts, 24);
  EXPECT_GT(atlas.coverage, 0.5);
}

TEST(TextureAtlas, PiecesOfTheTextureStandApart) {
  const TriangleMesh mesh = test::torus_mesh(40, 20);
  const Atlas atlas = make_atlas(mesh, {.size = 256, .padding = 6});
  // Texels that come within three of a triangle belong to no other chart: charts share no position.
  std::vector<uint32_t> chart(atlas.mesh.positions.size());
  for (uint32_t i = 0; i < chart.size(); ++i) chart[i] = i;
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& [a, b, c] : atlas.mesh.triangles)
      for (const uint32_t k : {a, b, c}) {
        const uint32_t least = std::min({chart[a], chart[b], chart[c]});
        changed = changed || chart[k] != least;
        chart[k] = least;
      }
  }
  for (size_t i = 0; i < chart.size(); ++i)
    for (size_t k = 0; k < i; ++k)
      if (chart[i] != chart[k]) {
        const double x = std::abs(atlas.mesh.uvs[i].x - atlas.mesh.uvs[k].x) * 256;
        const double y = std::abs(atlas.mesh.uvs[i].y - atlas.mesh.uvs[k].y) * 256;
        ASSERT_GE(std::max(x, y), 6 - 1e-3) << i << " " << k;
      }
}

TEST(TextureAtlas, PolesWithoutAnAreaAndSeparatePieces) {
  const TriangleMesh mesh =
      test::joined(test::joined(test::sphere_mesh(30, 20), test::torus_mesh(20, 12, 3, 0.2)),
                   test::sphere_mesh(5, 3, 0.01));
  expect_good(mesh, make_atlas(mesh, {.size = 256}), 256);
}

TEST(TextureAtlas, OneTriangleAndOneWithoutAnArea) {
  TriangleMesh mesh;
  mesh.positions = {{0, 0, 0}, {1, 0, 0}, {0, 1, 0}, {7, 7, 7}};
  mesh.triangles = {{0, 1, 2}};
  const Atlas one = make_atlas(mesh, {.size = 64});
  expect_good(mesh, one, 64);
  EXPECT_EQ(one.mesh.positions.size(), 3u) << "what no triangle has is left out";
  mesh.triangles = {{0, 0, 0}, {1, 1, 2}};
  EXPECT_EQ(make_atlas(mesh, {.size = 64}).mesh.uvs.size(), 3u);
  mesh.triangles.clear();
  EXPECT_ERROR(make_atlas(mesh), "the mesh is empty");
  mesh.triangles = {{0, 1, 4}};
  EXPECT_ERROR(make_atlas(mesh), "a triangle of the mesh asks for position 4 of 4");
  mesh.triangles = {{0, 1, 2}};
  mesh.positions[1].y = NAN;
  EXPECT_ERROR(make_atlas(mesh), "positions are not finite (number 1)");
  EXPECT_ERROR(make_atlas(mesh, {.size = 8}), "16 to 8192 texels");
}

// A winding stair looks up everywhere, and comes to lie above itself.
TEST(TextureAtlas, WhatOverlapsWhenLaidFlatIsCut) {
  TriangleMesh mesh;
  constexpr int kSteps = 90;
  for (int i = 0; i <= kSteps; ++i)
    for (const float radius : {0.3f, 1.f}) {
      const float angle = static_cast<float>(i) * 0.2f;
      mesh.positions.push_back(
          {radius * std::cos(angle), radius * std::sin(angle), 0.01f * static_cast<float>(i)});
    }
  for (uint32_t i = 0; i < kSteps; ++i) {
    mesh.triangles.push_back({2 * i, 2 * i + 1, 2 * i + 3});
    mesh.triangles.push_back({2 * i, 2 * i + 3, 2 * i + 2});
  }
  const Atlas atlas = make_atlas(mesh, {.size = 256});
  expect_good(mesh, atlas, 256);
  EXPECT_GE(atlas.charts, 3);
  EXPECT_LE(atlas.charts, 12);
}

TEST(TextureAtlas, NoiseAndTrianglesThatMeetInOneEdge) {
  TriangleMesh mesh = test::sphere_mesh(40, 30);
  Philox random(3, 0);
  const auto noise =
      test::uniform_values(random, 3 * static_cast<int64_t>(mesh.positions.size()), -0.05f, 0.05f);
  for (size_t i = 0; i < mesh.positions.size(); ++i)
    mesh.positions[i] += {noise[3 * i], noise[3 * i + 1], noise[3 * i + 2]};
  // A fin on every tenth edge, and some triangles twice.
  const size_t count = mesh.triangles.size();
  for (size_t t = 0; t < count; t += 10) {
    const auto [a, b, c] = mesh.triangles[t];
    mesh.positions.push_back(mesh.positions[a] * 1.3f);
    mesh.triangles.push_back({a, b, static_cast<uint32_t>(mesh.positions.size() - 1)});
    if (t % 100 == 0) mesh.triangles.push_back({a, b, c});
  }
  mesh.normals = vertex_normals(mesh.positions, mesh.triangles);
  expect_good(mesh, make_atlas(mesh, {.size = 512, .padding = 2}), 512);
}

TEST(TextureAtlas, ManyPiecesStandCloserOrNotAtAll) {
  TriangleMesh mesh;
  for (uint32_t i = 0; i < 600; ++i) {
    const auto x = static_cast<float>(i);
    for (const Vec3f p : {Vec3f{x, 0, 0}, Vec3f{x + 0.5f, 0, 0}, Vec3f{x, 0.5f, 0}})
      mesh.positions.push_back(p);
    mesh.triangles.push_back({3 * i, 3 * i + 1, 3 * i + 2});
  }
  expect_good(mesh, make_atlas(mesh, {.size = 64, .padding = 4}), 64);
  EXPECT_ERROR(make_atlas(mesh, {.size = 16, .padding = 2}), "falls into 600 pieces");
}

TEST(TextureAtlas, AHundredThousandTriangles) {
  TriangleMesh mesh = test::torus_mesh(320, 160);
  for (Vec3f& p : mesh.positions)
    p = p * (1 + 0.05f * std::sin(20 * p.x) * std::sin(23 * p.y) * std::sin(17 * p.z));
  const Atlas atlas = make_atlas(mesh);
  expect_good(mesh, atlas, 1024);
  EXPECT_GT(atlas.coverage, 0.45);
}

TEST(TextureAtlas, TheSameAgainAndForAllTimes) {
  const TriangleMesh mesh = test::torus_mesh(30, 20);
  const Atlas atlas = make_atlas(mesh), again = make_atlas(mesh);
  ASSERT_EQ(atlas.sources, again.sources);
  for (size_t i = 0; i < atlas.sources.size(); ++i) {
    ASSERT_EQ(atlas.mesh.uvs[i].x, again.mesh.uvs[i].x);
    ASSERT_EQ(atlas.mesh.uvs[i].y, again.mesh.uvs[i].y);
  }
  AnimatedMesh moving{mesh, {0, 1}, {mesh.positions, mesh.positions}, {mesh.normals, mesh.normals}};
  for (Vec3f& p : moving.positions[1]) p.z += 1;
  const AnimatedMesh result = with_atlas(moving, atlas);
  ASSERT_EQ(result.positions[1].size(), result.reference.uvs.size());
  for (size_t i = 0; i < atlas.sources.size(); ++i) {
    ASSERT_EQ(result.positions[0][i], result.reference.positions[i]);
    ASSERT_EQ(result.positions[1][i].z, result.reference.positions[i].z + 1);
    ASSERT_EQ(result.normals[1][i], mesh.normals[atlas.sources[i]]);
  }
}

}  // namespace
}  // namespace eg4d::mesh
