#include "mesh/mesh_cleaning.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "mesh/mesh_edges.h"
#include "mesh/mesh_simplification.h"
#include "mesh/mesh_smoothing.h"
#include "mesh/remeshing.h"
#include "support/ball.h"

namespace eg4d::mesh {
namespace {

void cut_the_top_off(TriangleMesh& ball) {
  std::erase_if(ball.triangles, [&](const auto& t) {
    return std::any_of(t.begin(), t.end(), [&](uint32_t i) { return ball.positions[i].z > 0.8f; });
  });
  keep_large_pieces(ball, 0.5f, 64, false);
}

TEST(MeshFacts, CountsHolesPiecesAndEdgesOfThreeFaces) {
  TriangleMesh mesh = test::ball(24);
  test::add_surface(mesh, test::ball(24, {5, 0, 0}));
  EXPECT_EQ(facts_of(mesh).pieces, 2u);
  EXPECT_TRUE(facts_of(mesh).watertight());
  const size_t faces = mesh.triangles.size();
  mesh.triangles.erase(mesh.triangles.begin() + 100);
  mesh.triangles.pop_back();
  MeshFacts facts = facts_of(mesh);
  EXPECT_EQ(facts.holes, 2u);
  EXPECT_FALSE(facts.watertight());
  EXPECT_EQ(facts_text(facts), std::to_string(faces - 2) + " faces, 2 pieces, 2 holes");
  fill_holes(mesh);
  EXPECT_TRUE(facts_of(mesh).watertight());
  EXPECT_EQ(mesh.triangles.size(), faces);

  const auto fin = static_cast<uint32_t>(mesh.positions.size());
  mesh.positions.push_back({0, 0, 9});
  mesh.triangles.push_back({mesh.triangles[0][0], mesh.triangles[0][1], fin});
  EXPECT_EQ(facts_of(mesh).crossed, 1u);
  repair_crossed(mesh);
  EXPECT_EQ(facts_of(mesh).crossed, 0u);
}

TEST(MeshCleaning, LargerHolesAreClosedFromTheirMiddle) {
  TriangleMesh mesh = test::ball(30);
  cut_the_top_off(mesh);
  EXPECT_GE(facts_of(mesh).holes, 1u);
  fill_holes(mesh);
  EXPECT_TRUE(facts_of(mesh).watertight());
  EXPECT_GT(facts_of(mesh).volume, 3.5);
}

TEST(MeshCleaning, SmallPiecesAndWallsInsideGo) {
  TriangleMesh mesh = test::ball(40);
  TriangleMesh hollow = test::ball(24), crumb = hollow;
  for (Vec3f& p : hollow.positions) p = p * 0.7f;
  for (Vec3f& p : crumb.positions) p = p * 0.05f + Vec3f{0, 0, 1.5f};
  test::add_surface(mesh, hollow, true);
  test::add_surface(mesh, crumb);
  TriangleMesh kept = mesh;
  keep_large_pieces(kept, 0.1f, 64, false);
  EXPECT_EQ(facts_of(kept).pieces, 2u);
  kept = mesh;
  keep_large_pieces(kept, 0.1f, 64, true);
  EXPECT_EQ(facts_of(kept).pieces, 1u);
  EXPECT_NEAR(facts_of(kept).volume, 4.19, 0.03);
  kept = mesh;
  keep_large_pieces(kept, 1, 1 << 20, true);
  EXPECT_EQ(facts_of(kept).pieces, 1u) << "the largest one stays in any case";
}

TEST(MeshCleaning, DegenerateTrianglesAndDoubleOnesGo) {
  TriangleMesh mesh;
  mesh.positions = {{0, 0, 0}, {1, 0, 0}, {0, 1, 0}, {2, 0, 0}, {0, 0, 1}, {9, 9, 9}};
  mesh.triangles = {{0, 1, 2}, {1, 2, 0}, {0, 1, 1}, {0, 1, 3}, {0, 2, 4}, {0, 4, 2}};
  drop_degenerate(mesh);
  ASSERT_EQ(mesh.triangles.size(), 1u) << "the last two face each other";
  EXPECT_EQ(mesh.triangles[0], (std::array<uint32_t, 3>{0, 1, 2}));
  EXPECT_EQ(mesh.positions.size(), 3u);
}

TEST(MeshCleaning, CloseCornersBecomeOne) {
  TriangleMesh mesh = test::ball(40);
  const size_t before = mesh.positions.size();
  merge_close(mesh, 0.02f);
  EXPECT_LT(mesh.positions.size(), before);
  for (const Vec3f& p : mesh.positions) EXPECT_NEAR(length(p), 1, 3e-3);
}

TEST(MeshCleaning, WhatMeetsInAPointAloneIsParted) {
  TriangleMesh mesh;
  mesh.positions = {{0, 0, 0}, {1, 0, 0}, {0, 1, 0}, {-1, 0, 0}, {0, -1, 0}};
  mesh.triangles = {{0, 1, 2}, {0, 3, 4}};
  repair_crossed(mesh);
  EXPECT_EQ(mesh.positions.size(), 6u);
  EXPECT_NE(mesh.triangles[0][0], mesh.triangles[1][0]);
}

TEST(MeshSmoothing, TaubinTakesNoiseAwayAndKeepsTheVolume) {
  TriangleMesh mesh = test::ball(40);
  const double volume = facts_of(mesh).volume;
  Philox random(2);
  for (Vec3f& p : mesh.positions) p = p * (1 + 0.01f * random.normal());
  const auto roughness = [&] {
    double sum = 0;
    for (const Vec3f& p : mesh.positions) sum += std::abs(length(p) - 1);
    return sum / static_cast<double>(mesh.positions.size());
  };
  const double before = roughness();
  smooth_taubin(mesh, 8);
  EXPECT_LT(roughness(), before / 2);
  EXPECT_NEAR(facts_of(mesh).volume, volume, 0.01 * volume);
}

TEST(MeshSmoothing, LaplacianShrinksUnlessTheVolumeIsKept) {
  TriangleMesh mesh = test::ball(20), kept = mesh;
  const double volume = facts_of(mesh).volume;
  smooth_laplacian(mesh, 10, 0.5f, false);
  smooth_laplacian(kept, 10, 0.5f, true);
  EXPECT_LT(facts_of(mesh).volume, 0.98 * volume);
  EXPECT_NEAR(facts_of(kept).volume, volume, 1e-3 * volume);
}

TEST(MeshSimplification, ReachesItsNumberAndStaysClosed) {
  TriangleMesh mesh = test::ball(60);
  ASSERT_GT(mesh.triangles.size(), 10000u);
  simplify(mesh, 2000);
  const MeshFacts facts = facts_of(mesh);
  EXPECT_LE(facts.faces, 2000u);
  EXPECT_GT(facts.faces, 1900u);
  EXPECT_TRUE(facts.watertight());
  EXPECT_NEAR(facts.volume, 4.19, 0.05);
  simplify(mesh, 5000);
  EXPECT_EQ(mesh.triangles.size(), facts.faces);
}

TEST(Remeshing, EdgesBecomeAboutEquallyLong) {
  TriangleMesh mesh = test::ball(40);
  for (const float edge : {0.1f, 0.03f}) {
    TriangleMesh even = mesh;
    remesh(even, edge, 3);
    const MeshFacts facts = facts_of(even);
    EXPECT_TRUE(facts.watertight());
    EXPECT_EQ(facts.pieces, 1u);
    EXPECT_NEAR(facts.volume, 4.19, 0.06);
    size_t edges = 0, within = 0;
    for_each_edge(sorted_half_edges(even.triangles), [&](const HalfEdge* e, size_t) {
      const float l = length(even.positions[e->high] - even.positions[e->low]);
      ++edges;
      within += l > edge * 0.6f && l < edge * 1.5f ? 1 : 0;
    });
    EXPECT_GT(within, edges * 95 / 100) << edge;
  }
}

TEST(Remeshing, HolesKeepTheirBorders) {
  TriangleMesh mesh = test::ball(30);
  cut_the_top_off(mesh);
  const size_t holes = facts_of(mesh).holes;
  EXPECT_GE(holes, 1u);
  remesh(mesh, 0.1f, 2);
  const MeshFacts facts = facts_of(mesh);
  EXPECT_EQ(facts.holes, holes);
  EXPECT_EQ(facts.crossed, 0u);
}

}  // namespace
}  // namespace eg4d::mesh
