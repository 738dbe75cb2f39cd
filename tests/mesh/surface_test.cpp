#include "mesh/surface.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/interrupt.h"
#include "mesh/carried_surface.h"
#include "support/creature.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/mesh_distance.h"

namespace eg4d::mesh {
namespace {

const std::vector<float> kTimes = {0, 0.25f, 0.5f, 0.75f, 1};
constexpr int kGaussians = 8000;

TriangleMesh truth_at(const AnimatedMesh& truth, size_t moment) {
  TriangleMesh mesh = truth.reference;
  mesh.positions = truth.positions[moment];
  return mesh;
}

class Surface : public test::OnEachDevice {
 protected:
  TriangleMesh surface(const Ellipsoids& ellipsoids, SurfaceMethod method, int resolution = 128) {
    SurfaceOptions options = method == SurfaceMethod::paper ? paper_options() : SurfaceOptions();
    options.method = method;
    if (method != SurfaceMethod::paper) {
      options.resolution = resolution;
      options.views = 40;
    }
    Progress quiet;
    return make_surface(*backend_, ellipsoids, options, quiet);
  }

  std::unique_ptr<Backend> backend_ = test::make_test_backend();
};

TEST_P(Surface, IsWhereTheCreaturesIs) {
  const TriangleMesh truth = truth_at(test::creature_surface(120, {0.25f}), 0);
  const Ellipsoids clean = test::creature_gaussians(kGaussians, false, {0.25f})[0];
  const TriangleMesh depth = surface(clean, SurfaceMethod::depth),
                     density = surface(clean, SurfaceMethod::density);
  const test::SurfaceDistance of_depth = test::surface_distance(depth, truth, 5000),
                              of_density = test::surface_distance(density, truth, 5000);
  EXPECT_LT(of_depth.chamfer(), 0.014);
  EXPECT_GT(of_depth.normals, 0.97);
  EXPECT_LT(of_density.chamfer(), 0.025);
  EXPECT_GT(of_density.normals, 0.97);
  EXPECT_LT(of_depth.chamfer(), of_density.chamfer());
  for (const TriangleMesh* mesh : {&depth, &density}) {
    const MeshFacts facts = facts_of(*mesh);
    EXPECT_TRUE(facts.watertight());
    EXPECT_EQ(facts.pieces, 1u);
    EXPECT_GT(facts.volume, 0);
    EXPECT_EQ(mesh->normals.size(), mesh->positions.size());
  }
}

TEST_P(Surface, FloatingGaussiansMoveNeitherBoundsNorSurface) {
  const TriangleMesh truth = truth_at(test::creature_surface(120, {0.25f}), 0);
  Ellipsoids noisy = test::creature_gaussians(kGaussians, true, {0.25f})[0];
  noisy.push_back({500, 0, 0}, {1, 1, 1}, {1, 0, 0, 0}, 0.9f);
  const test::SurfaceDistance of_depth =
      test::surface_distance(surface(noisy, SurfaceMethod::depth), truth, 5000);
  EXPECT_LT(of_depth.chamfer(), 0.025);
  EXPECT_GT(of_depth.normals, 0.95);
}

TEST_P(Surface, ThePublishedRecipeGivesASurfaceThatMayHaveHoles) {
  const TriangleMesh mesh =
      surface(test::creature_gaussians(kGaussians, false, {0.25f})[0], SurfaceMethod::paper);
  const TriangleMesh truth = truth_at(test::creature_surface(120, {0.25f}), 0);
  EXPECT_LT(test::surface_distance(mesh, truth, 5000).to_truth, 0.04);
  EXPECT_LE(mesh.triangles.size(), 100000u);
  EXPECT_EQ(facts_of(mesh).crossed, 0u);
}

TEST_P(Surface, OneGaussianIsAnEllipsoidOfAnySize) {
  for (const float unit : {1.f, 1e-3f, 1e4f})
    for (const SurfaceMethod method : {SurfaceMethod::depth, SurfaceMethod::density}) {
      Ellipsoids one;
      one.push_back({unit, 2 * unit, 3 * unit}, {0.1f * unit, 0.2f * unit, 0.3f * unit}, {1, 0, 0, 0}, 0.99f);
      const TriangleMesh mesh = surface(one, method, 64);
      EXPECT_TRUE(facts_of(mesh).watertight());
      const float away = length(box_of(mesh).center() - Vec3f{1, 2, 3} * unit) / unit;
      EXPECT_LT(away, 0.1);
      if (method == SurfaceMethod::depth) continue;  // from each side it is a disc at its centre
      const Vec3f size = box_of(mesh).size();
      EXPECT_GT(size.z, 2 * size.x);
      EXPECT_LT(away, 0.02);
    }
}

TEST_P(Surface, WhatHasNoneGetsASentence) {
  Ellipsoids none, faint, point;
  faint.push_back({0, 0, 0}, {0.1f, 0.1f, 0.1f}, {1, 0, 0, 0}, 0.001f);
  for (const SurfaceMethod method : {SurfaceMethod::depth, SurfaceMethod::density, SurfaceMethod::paper}) {
    EXPECT_ERROR(surface(none, method), "the object has no Gaussians");
    EXPECT_ERROR(surface(faint, method), "no Gaussian is as opaque as");
  }
  faint.opacities[0] = 0.01f;
  EXPECT_ERROR(surface(faint, SurfaceMethod::density), "nowhere are the object's Gaussians as dense as 0.5");
  EXPECT_ERROR(surface(faint, SurfaceMethod::depth),
               "nowhere do the object's Gaussians stop half of the light");
  point.push_back({0, 0, 0}, {0, 0, 0}, {1, 0, 0, 0}, 0.9f);
  EXPECT_ERROR(surface(point, SurfaceMethod::depth), "no size");
  point.scales[0] = {1e30f, 1e30f, 1e30f};
  EXPECT_ERROR(surface(point, SurfaceMethod::density), "finite");
}

TEST_P(Surface, NumbersThatAreNotFiniteAreRefused) {
  const auto tensor = [&](Shape shape, std::vector<float> values) {
    return Tensor::from_host<float>(*backend_, std::move(shape), values);
  };
  Renderer::Deformed deformed{tensor({2, 3}, {0, 0, 0, 1, NAN, 1}), tensor({2, 3}, {1, 1, 1, 1, 1, 1}),
                              tensor({2, 4}, {1, 0, 0, 0, 1, 0, 0, 0}), tensor({2}, {0.5f, 0.5f}), Tensor()};
  EXPECT_ERROR(ellipsoids_of(deformed), "Gaussian 1 has a position that is not a finite number");
  deformed.means = tensor({2, 3}, {0, 0, 0, 1, 1, 1});
  EXPECT_EQ(ellipsoids_of(deformed).count(), 2u);
  deformed.scales = tensor({2, 3}, {1, INFINITY, 1, 1, 1, 1});
  EXPECT_ERROR(ellipsoids_of(deformed), "Gaussian 0 has a scale");
}

TEST_P(Surface, StopsWhenAsked) {
  const Ellipsoids clean = test::creature_gaussians(500, false, {0})[0];
  request_interrupt();
  EXPECT_THROW(surface(clean, SurfaceMethod::depth), Interrupted);
  EXPECT_THROW(surface(clean, SurfaceMethod::density), Interrupted);
  clear_interrupt();
}
EG4D_ON_EACH_DEVICE(Surface);

TEST(CarriedSurface, FollowsARigidMotionExactly) {
  Moments moments = {test::creature_gaussians(2000, false, {0})[0]};
  moments.push_back(moments[0]);
  const auto turned = [](Vec3f p) { return Vec3f{-p.y + 1, p.x, p.z - 2}; };
  for (Vec3f& p : moments[1].means) p = turned(p);
  const TriangleMesh surface = test::creature_surface(60, {0}).reference;
  const AnimatedMesh carried = carry_surface(surface, moments, 0, {0, 1});
  ASSERT_EQ(carried.positions.size(), 2u);
  EXPECT_EQ(carried.positions[0], surface.positions);
  float farthest = 0;
  for (size_t i = 0; i < surface.positions.size(); ++i)
    farthest = std::max(farthest, length(carried.positions[1][i] - turned(surface.positions[i])));
  EXPECT_LT(farthest, 1e-4);
}

TEST(CarriedSurface, StaysOnTheCreature) {
  const AnimatedMesh truth = test::creature_surface(100, kTimes);
  const Moments moments = test::creature_gaussians(kGaussians, false, kTimes);
  const AnimatedMesh carried = carry_surface(truth.reference, moments, 0, kTimes);
  for (size_t m = 0; m < kTimes.size(); ++m) {
    double sum = 0;
    for (size_t i = 0; i < truth.positions[m].size(); ++i)
      sum += length(carried.positions[m][i] - truth.positions[m][i]);
    EXPECT_LT(sum / static_cast<double>(truth.positions[m].size()), 0.012) << m;
    EXPECT_EQ(carried.normals[m].size(), carried.positions[m].size());
  }
}

TEST(CarriedSurface, TheReferenceIsWhenPartsAreApart) {
  // Two plates that lie on each other at two of three moments.
  Moments moments(3);
  for (size_t m = 0; m < 3; ++m)
    for (int i = 0; i < 400; ++i) {
      const float x = 0.05f * static_cast<float>(i % 20), y = 0.05f * static_cast<float>(i / 20);
      moments[m].push_back({x, y, 0}, {0.03f, 0.03f, 0.01f}, {1, 0, 0, 0}, 0.9f);
      moments[m].push_back({x, y, m == 1 ? 0.5f : 0.03f}, {0.03f, 0.03f, 0.01f}, {1, 0, 0, 0}, 0.9f);
    }
  EXPECT_EQ(reference_moment(moments), 1u);
  EXPECT_EQ(reference_moment({moments[0]}), 0u);
}

}  // namespace
}  // namespace eg4d::mesh
