#include "mesh/iso_surface.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "core/threads.h"
#include "mesh/cube_cases.h"
#include "mesh/density_field.h"
#include "mesh/mesh_cleaning.h"
#include "support/ball.h"
#include "support/expect_error.h"

namespace eg4d::mesh {
namespace {

// A number for each lattice point that has nothing to do with its neighbours'.
BlockField noise(const Lattice& lattice) {
  return [=](const BlockNumber& block, float* values) {
    for (int z = 0; z < kBlockPoints; ++z)
      for (int y = 0; y < kBlockPoints; ++y)
        for (int x = 0; x < kBlockPoints; ++x) {
          const int at[3] = {block[0] * kBlock + x, block[1] * kBlock + y, block[2] * kBlock + z};
          uint32_t words[4];
          Philox::block(
              5, 0, static_cast<uint64_t>((at[2] * lattice.points[1] + at[1]) * lattice.points[0] + at[0]),
              words);
          *values++ = static_cast<float>(words[0]) / 4e9f - 0.5f;
        }
  };
}

Lattice cube(int points) {
  return {{0, 0, 0}, 1, {points, points, points}};
}

TEST(CubeCases, OneCornerIsCutOffByOneTriangleThatLooksAway) {
  const CubeCases& cases = cube_cases();
  EXPECT_TRUE(cases.triangles[0].empty());
  EXPECT_TRUE(cases.triangles[255].empty());
  ASSERT_EQ(cases.triangles[1].size(), 1u);
  Vec3f corners[3];
  for (size_t k = 0; k < 3; ++k) corners[k].data()[cases.edges[cases.triangles[1][0][k]].axis] = 0.5f;
  EXPECT_GT(dot(cross(corners[1] - corners[0], corners[2] - corners[0]), {1, 1, 1}), 0);
}

TEST(IsoSurface, IsClosedWhateverTheField) {
  // Every one of the 256 cases comes up in 8000 cells of noise.
  for (const int points : {9, 21, 22}) {
    const Lattice lattice = cube(points);
    const TriangleMesh surface = iso_surface(lattice, 0, noise(lattice), test::all_blocks(lattice));
    const MeshFacts facts = facts_of(surface);
    EXPECT_EQ(facts.holes, 0u) << points;
    EXPECT_EQ(facts.crossed, 0u) << points;
    EXPECT_GT(facts.volume, 0);
    EXPECT_GT(facts.faces, 100u);
  }
}

TEST(IsoSurface, ABallHasItsVolumeAndItsRadius) {
  const TriangleMesh ball = test::ball(50);
  const MeshFacts facts = facts_of(ball);
  EXPECT_TRUE(facts.watertight());
  EXPECT_EQ(facts.pieces, 1u);
  EXPECT_NEAR(facts.volume, 4 * std::numbers::pi / 3, 0.02);
  for (const Vec3f& p : ball.positions) EXPECT_NEAR(length(p), 1, 2e-3);
}

TEST(IsoSurface, RunsOnFromOneBlockToAllThatItCrosses) {
  const Lattice lattice = lattice_around({{-1, -1, -1}, {1, 1, 1}}, 60);
  const BlockField field = test::ball_field(lattice, {0.05f, 0, 0}, 0.8f);
  TriangleMesh whole = iso_surface(lattice, 0, field, test::all_blocks(lattice));
  // The block of the ball's leftmost point.
  const Vec3f left = (Vec3f{-0.75f, 0, 0} - lattice.origin) * (1 / lattice.spacing);
  const auto block = [](float at) { return static_cast<int>(at) / kBlock; };
  TriangleMesh followed = iso_surface(lattice, 0, field, {{block(left.x), block(left.y), block(left.z)}});
  EXPECT_EQ(followed.positions.size(), whole.positions.size());
  EXPECT_EQ(followed.triangles.size(), whole.triangles.size());
  EXPECT_TRUE(facts_of(followed).watertight());
  EXPECT_TRUE(iso_surface(lattice, 0, field, {{0, 0, 0}}).triangles.empty());
}

TEST(IsoSurface, WhatReachesTheLatticesEndIsClosedThere) {
  const Lattice lattice = cube(12);
  const auto full = [](const BlockNumber&, float* values) { std::fill(values, values + kBlockValues, 1.f); };
  const MeshFacts facts = facts_of(iso_surface(lattice, 0, full, test::all_blocks(lattice)));
  EXPECT_TRUE(facts.watertight());
  EXPECT_NEAR(facts.volume, 10 * 10 * 10, 60);
}

TEST(IsoSurface, OddNumbersGiveFinitePositions) {
  const Lattice lattice = cube(17);
  int turn = 0;
  const auto field = [&](const BlockNumber&, float* values) {
    constexpr float kOdd[] = {NAN, INFINITY, -INFINITY, 0, 1, -1, 1e38f, -1e38f};
    for (int i = 0; i < kBlockValues; ++i) values[i] = kOdd[++turn % 8];
  };
  for (const Vec3f& p : iso_surface(lattice, 0, field, {{0, 0, 0}}).positions)
    EXPECT_TRUE(std::isfinite(p.x) && std::isfinite(p.y) && std::isfinite(p.z));
}

TEST(IsoSurfaceOnCpu, IsTheSameForAnyNumberOfThreads) {
  const int all = thread_count();
  set_thread_count(1);
  const TriangleMesh one = test::ball(70);
  set_thread_count(3);
  const TriangleMesh three = test::ball(70);
  set_thread_count(all);
  EXPECT_EQ(one.positions, three.positions);
  EXPECT_EQ(one.triangles, three.triangles);
}

TEST(LatticeAround, HoldsTheBoxAndRefusesWhatIsNone) {
  const Box box = {{-1, 0, 2}, {3, 1, 2.5f}};
  const Lattice lattice = lattice_around(box, 100);
  EXPECT_LE(std::max({lattice.points[0], lattice.points[1], lattice.points[2]}), 100);
  const Vec3f last = lattice.at(lattice.points[0] - 2, lattice.points[1] - 2, lattice.points[2] - 2);
  for (size_t axis = 0; axis < 3; ++axis) {
    EXPECT_LT(lattice.origin.data()[axis], box.least.data()[axis] - 0.9f * lattice.spacing);
    EXPECT_GT(last.data()[axis], box.most.data()[axis] - 1e-4f);
  }
  EXPECT_ERROR(lattice_around({{0, 0, 0}, {0, 0, 0}}, 64), "no size");
  EXPECT_ERROR(lattice_around({{0, 0, 0}, {INFINITY, 0, 0}}, 64), "finite");
}

TEST(DensityField, IsTheSumOfGaussiansUpToThreeDeviations) {
  Philox random(4);
  Ellipsoids ellipsoids;
  for (int i = 0; i < 40; ++i) {
    std::array<float, 4> q{};
    float squares = 0;
    for (float& c : q) {
      c = random.normal();
      squares += c * c;
    }
    for (float& c : q) c /= std::sqrt(squares);
    ellipsoids.push_back({random.normal(), random.normal(), random.normal()},
                         {0.1f + 0.3f * random.uniform(), 0.1f + 0.3f * random.uniform(), 0.02f}, q,
                         random.uniform());
  }
  const Lattice lattice = lattice_around({{-2, -2, -2}, {2, 2, 2}}, 40);
  constexpr float kLeast = 0.05f;
  const DensityField field(ellipsoids, lattice, kLeast);
  size_t reached = 0;
  for (const BlockNumber& block : test::all_blocks(lattice)) {
    float values[kBlockValues];
    field(block, values);
    for (int i = 0; i < kBlockValues; i += 7) {
      const Vec3f p = lattice.at(block[0] * kBlock + i % kBlockPoints,
                                 block[1] * kBlock + i / kBlockPoints % kBlockPoints,
                                 block[2] * kBlock + i / kBlockPoints / kBlockPoints);
      bool beyond = false;
      for (size_t axis = 0, rest = static_cast<size_t>(i); axis < 3; ++axis, rest /= kBlockPoints)
        beyond |= block[axis] * kBlock + static_cast<int>(rest % kBlockPoints) >= lattice.points[axis];
      if (beyond) continue;
      double expected = 0, near_the_cut = 0;
      for (size_t g = 0; g < ellipsoids.count(); ++g) {
        const Rotation axes = rotation_matrix(ellipsoids.rotations[g]);
        double squared = 0;
        for (size_t k = 0; k < 3; ++k) {
          const double along = dot(axes[k], p - ellipsoids.means[g]);
          squared += std::pow(along / std::max(ellipsoids.scales[g].data()[k], kLeast), 2.0);
        }
        if (std::abs(squared - 9) < 1e-3) near_the_cut = 0.02;
        if (squared <= 9) expected += ellipsoids.opacities[g] * std::exp(-squared / 2);
      }
      EXPECT_NEAR(values[i], expected, 1e-5 + near_the_cut);
      reached += expected > 0 ? 1 : 0;
    }
  }
  EXPECT_GT(reached, 100u);
  const std::vector<BlockNumber> blocks = field.blocks();
  EXPECT_FALSE(blocks.empty());
  EXPECT_LT(blocks.size(), test::all_blocks(lattice).size());
}

TEST(DensityField, BlocksAgreeAboutThePointsThatTheyShare) {
  const Lattice lattice = lattice_around({{-1, -1, -1}, {1, 1, 1}}, 20);
  Ellipsoids ellipsoids;
  for (int i = 0; i < 30; ++i)
    ellipsoids.push_back({0.03f * static_cast<float>(i) - 0.5f, 0.1f, 0}, {0.07f, 0.1f, 0.2f}, {1, 0, 0, 0},
                         0.3f);
  const DensityField field(ellipsoids, lattice, 0);
  float left[kBlockValues], right[kBlockValues];
  field({0, 1, 1}, left);
  field({1, 1, 1}, right);
  for (int i = 0; i < kBlockPoints * kBlockPoints; ++i)
    EXPECT_EQ(left[i * kBlockPoints + kBlock], right[i * kBlockPoints]);
}

}  // namespace
}  // namespace eg4d::mesh
