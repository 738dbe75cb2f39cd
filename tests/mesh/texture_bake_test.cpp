#include "mesh/texture_bake.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "core/interrupt.h"
#include "mesh/draw_mesh.h"
#include "mesh/surface_points.h"
#include "mesh/texture_atlas.h"
#include "splat/evaluation.h"
#include "support/ball_scene.h"
#include "support/expect_error.h"
#include "support/random_values.h"

namespace eg4d::mesh {
namespace {

using test::Ball;

const std::vector<Ball> kBall{{{0.1f, 0, -0.2f}, 1}};

SeeObject seen_as(const std::vector<Ball>& balls) {
  return [balls](const Camera& camera, float) { return test::see_balls(balls, camera); };
}
SurfaceMoment moment_of(const TriangleMesh& mesh, float time = 0) {
  return {time, mesh.positions, mesh.normals};
}
BakedTexture bake(const TriangleMesh& mesh, const std::vector<Camera>& cameras, const SeeObject& see,
                  BakeOptions options = {.size = 256}) {
  Progress silent;
  const SurfaceMoment moment = moment_of(mesh);
  return bake_texture(mesh, {&moment, 1}, cameras, see, options, silent);
}
std::vector<Camera> cameras_of(const TriangleMesh& mesh, int count = 60, int pixels = 200) {
  return cameras_around(mesh.positions, count, pixels);
}
TriangleMesh unwrapped(const TriangleMesh& mesh, int size = 256) {
  return make_atlas(mesh, {.size = size}).mesh;
}
void keep_picture(const std::string& name, const Picture& picture) {
  if (const char* folder = std::getenv("EG4D_BAKE_PICTURES"))
    write_png(std::filesystem::path(folder) / name, picture);
}

// The texture beside the truth at the points its texels stand for, in dB; and the largest error.
struct Beside {
  double psnr = 0, most = 0;
};
Beside beside_truth(
    const TriangleMesh& mesh, const Picture& texture, const Ball& ball,
    const std::function<bool(Vec3f)>& counts = [](Vec3f) { return true; }) {
  const SurfacePoints texels = points_of_texels(mesh, texture.width);
  double squares = 0, values = 0, most = 0;
  for (size_t i = 0; i < texels.points.size(); ++i) {
    const Vec3f p = texels.points[i].at(mesh.triangles, mesh.positions);
    if (length(p - ball.center) > ball.radius * 1.01f || !counts(p)) continue;
    const Vec3f truth = test::color_of(ball, p);
    for (size_t k = 0; k < 3; ++k) {
      const double error = texture.data[3 * size_t{texels.numbers[i]} + k] / 255.0 - double{truth.data()[k]};
      squares += error * error;
      most = std::max(most, std::abs(error));
      ++values;
    }
  }
  return {psnr_of(squares / values), most};
}

TEST(TextureBake, APaintedBallKeepsItsPaint) {
  const TriangleMesh mesh = unwrapped(test::mesh_of(kBall, 60, 40));
  const BakedTexture baked = bake(mesh, cameras_of(mesh), seen_as(kBall));
  keep_picture("ball.png", baked.texture);
  EXPECT_GT(baked.seen, 0.999);
  const Beside beside = beside_truth(mesh, baked.texture, kBall[0]);
  EXPECT_GT(beside.psnr, 40);
  EXPECT_LT(beside.most, 0.06);
  for (size_t i = 0; i < mesh.positions.size(); ++i) {
    const Vec3f truth = test::color_of(kBall[0], mesh.positions[i]);
    for (size_t k = 0; k < 3; ++k) ASSERT_NEAR(baked.colors[i][k] / 255.0, truth.data()[k], 0.06);
  }
}

// Values go through as they are: a texture that were taken for light would be brighter or darker.
TEST(TextureBake, UnseenViewsLookAsTheObject) {
  const TriangleMesh mesh = unwrapped(test::mesh_of(kBall, 80, 60), 512);
  const BakedTexture baked = bake(mesh, cameras_of(mesh), seen_as(kBall), {.size = 512});
  const std::vector<Camera> others = cameras_of(mesh, 50, 120);
  EXPECT_GT(psnr_beside_object(mesh, moment_of(mesh), baked.texture, others, seen_as(kBall)), 34);
  constexpr float kWhite[3] = {1, 1, 1};
  Picture drawn(120, 120, 3);
  const std::vector<float> values = draw_mesh(mesh, mesh.positions, baked.texture, others[7], kWhite);
  for (size_t i = 0; i < values.size(); ++i) drawn.data[i] = static_cast<uint8_t>(values[i] * 255 + 0.5f);
  keep_picture("ball_drawn.png", drawn);
}

TEST(TextureBake, WhatStandsInFrontLeavesNoColour) {
  const std::vector<Ball> balls{{{0, 0, 0}, 1}, {{1.35f, 0, 0}, 0.25f, true}};
  const TriangleMesh mesh = unwrapped(test::mesh_of(balls, 60, 40));
  const BakedTexture baked = bake(mesh, cameras_of(mesh, 100), seen_as(balls));
  keep_picture("occluded.png", baked.texture);
  EXPECT_LT(beside_truth(mesh, baked.texture, balls[0]).most, 0.12);
}

// What the object has and the mesh has not: depth tells.
TEST(TextureBake, WhatTheMeshLacksLeavesNoColourEither) {
  const std::vector<Ball> balls{{{0, 0, 0}, 1}, {{1.5f, 0, 0}, 0.25f, true}};
  const TriangleMesh mesh = unwrapped(test::mesh_of({balls[0]}, 60, 40));
  const BakedTexture baked =
      bake(mesh, cameras_around(test::mesh_of(balls, 20, 10).positions, 100, 200), seen_as(balls));
  EXPECT_LT(beside_truth(mesh, baked.texture, balls[0], [](Vec3f p) { return p.x < 0.9f; }).most, 0.2);
}

TEST(TextureBake, WhatNoCameraSeesTakesTheColourAround) {
  const TriangleMesh mesh = unwrapped(test::mesh_of(kBall, 60, 40));
  std::vector<Camera> cameras = cameras_of(mesh, 100);
  std::erase_if(cameras, [](const Camera& camera) { return camera.center[2] < 1.5f; });
  const BakedTexture baked = bake(mesh, cameras, seen_as(kBall));
  keep_picture("from_above.png", baked.texture);
  EXPECT_LT(baked.seen, 0.9);
  EXPECT_GT(baked.seen, 0.5);
  EXPECT_LT(beside_truth(mesh, baked.texture, kBall[0], [](Vec3f p) { return p.z > 0.2f; }).most, 0.06);
  for (const auto& color : baked.colors)
    for (const uint8_t value : color) ASSERT_TRUE(value > 15 && value < 220) << int{value};
  EXPECT_EQ(std::count(baked.texture.data.begin(), baked.texture.data.end(), 0), 0)
      << "between the pieces too";
}

TEST(TextureBake, ACameraThatSeesSomethingElseIsOutvoted) {
  const TriangleMesh mesh = unwrapped(test::mesh_of(kBall, 40, 30));
  int calls = 0;
  const auto see = [&](const Camera& camera, float) {
    SeenObject seen = test::see_balls(kBall, camera);
    if (++calls % 6 == 0)
      for (float& value : seen.colors) value = 1 - value;
    return seen;
  };
  EXPECT_GT(beside_truth(mesh, bake(mesh, cameras_of(mesh), see).texture, kBall[0]).psnr, 35);
}

TEST(TextureBake, SeveralTimesOfAMovingSurface) {
  const TriangleMesh mesh = unwrapped(test::mesh_of(kBall, 60, 40));
  std::vector<Vec3f> moved = mesh.positions;
  for (Vec3f& p : moved) p += {0, 0.5f, 0};
  const std::vector<SurfaceMoment> moments{{0, mesh.positions, mesh.normals}, {1, moved, mesh.normals}};
  std::vector<Ball> later = kBall;
  later[0].center += {0, 0.5f, 0};
  const auto see = [&](const Camera& camera, float time) {
    return test::see_balls(time == 1 ? later : kBall, camera);
  };
  std::vector<Vec3f> all = mesh.positions;
  all.insert(all.end(), moved.begin(), moved.end());
  // From below at one time, from above at the other.
  const std::vector<Camera> cameras = cameras_around(all, 60, 200);
  const auto half = [&](const Camera& camera, float time) {
    SeenObject seen = see(camera, time);
    if ((camera.center[2] > 0) == (time == 1)) std::fill(seen.alpha.begin(), seen.alpha.end(), 0.f);
    return seen;
  };
  Progress silent;
  const BakedTexture baked = bake_texture(mesh, moments, cameras, half, {.size = 256}, silent);
  EXPECT_GT(baked.seen, 0.99);
  EXPECT_GT(beside_truth(mesh, baked.texture, kBall[0]).psnr, 36);
}

TEST(TextureBake, ColoursOfPositionsNeedNoTexture) {
  const TriangleMesh mesh = test::mesh_of(kBall, 40, 30);
  Progress silent;
  const SurfaceMoment moment = moment_of(mesh);
  const BakedTexture baked = bake_colors(mesh, {&moment, 1}, cameras_of(mesh), seen_as(kBall), {}, silent);
  EXPECT_EQ(baked.texture.width, 0);
  EXPECT_GT(baked.seen, 0.999);
  for (size_t i = 0; i < mesh.positions.size(); ++i) {
    const Vec3f truth = test::color_of(kBall[0], mesh.positions[i]);
    for (size_t k = 0; k < 3; ++k) ASSERT_NEAR(baked.colors[i][k] / 255.0, truth.data()[k], 0.06);
  }
}

TEST(TextureBake, AnyNumberOfThreadsGivesTheSame) {
  const TriangleMesh mesh = unwrapped(test::mesh_of(kBall, 30, 20));
  EXPECT_TRUE(test::same_bits_for_any_thread_count([&] {
    const Picture texture = bake(mesh, cameras_of(mesh, 12, 80), seen_as(kBall)).texture;
    return std::vector<float>(texture.data.begin(), texture.data.end());
  }));
}

TEST(TextureBake, MistakesGetSentences) {
  const TriangleMesh plain = test::mesh_of(kBall, 8, 6), mesh = unwrapped(plain);
  const std::vector<Camera> cameras = cameras_of(mesh, 2, 32);
  EXPECT_ERROR(bake(plain, cameras, seen_as(kBall)), "no place for a texture");
  EXPECT_ERROR(bake(mesh, {}, seen_as(kBall)), "no camera");
  EXPECT_ERROR(bake(mesh, cameras, seen_as(kBall), {.size = 4}), "16 to 8192");
  EXPECT_ERROR(bake(mesh, cameras, seen_as(kBall), {.best_views = 0}), "1 to 64 views");
  EXPECT_ERROR(bake(mesh, cameras, [](const Camera&, float) { return SeenObject(); }), "another size");
  TriangleMesh odd = mesh;
  odd.normals.pop_back();
  EXPECT_ERROR(bake(odd, cameras, seen_as(kBall)), "normals");
  const BakedTexture nothing = bake(mesh, cameras, [](const Camera& camera, float) {
    SeenObject seen = test::see_balls(kBall, camera);
    std::fill(seen.colors.begin(), seen.colors.end(), NAN);
    return seen;
  });
  EXPECT_EQ(nothing.seen, 0);
  EXPECT_EQ(nothing.texture.data[0], 128) << "grey where nothing is known";
  request_interrupt();
  EXPECT_THROW(bake(mesh, cameras, seen_as(kBall)), Interrupted);
  clear_interrupt();
}

TEST(BakeCameras, StandWhereTheySeeAll) {
  const TriangleMesh mesh = test::torus_mesh(20, 10);
  const std::vector<Camera> cameras = cameras_around(mesh.positions, 30, 100);
  ASSERT_EQ(cameras.size(), 30u);
  Vec3f sum;
  for (const Camera& camera : cameras) {
    sum += {camera.center[0], camera.center[1], camera.center[2]};
    for (const Vec3f p : mesh.positions) {
      const float* m = camera.full_projection;
      const float w = p.x * m[3] + p.y * m[7] + p.z * m[11] + m[15];
      ASSERT_LT(std::abs((p.x * m[0] + p.y * m[4] + p.z * m[8] + m[12]) / w), 1);
      ASSERT_LT(std::abs((p.x * m[1] + p.y * m[5] + p.z * m[9] + m[13]) / w), 1);
    }
  }
  EXPECT_LT(length(sum), 1.5f) << "on all sides";
  EXPECT_EQ(paper_cameras(0.69).size(), 326u);
}

}  // namespace
}  // namespace eg4d::mesh
