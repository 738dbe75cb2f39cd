#include "splat/renderer.h"

#include <gtest/gtest.h>

#include <numeric>

#include "splat/evaluation.h"
#include "support/device_fixture.h"
#include "support/tiny_model.h"

namespace eg4d {
namespace {

EG4D_DEVICE_SUITE(RendererTest);

// What the Gaussians have of the pixels is what the picture has of them.
TEST_P(RendererTest, WeighingAddsUpTheSharesInThePixels) {
  const Model model = test::tiny_model(backend(), 60, 3);
  Intrinsics intrinsics;
  intrinsics.fov_x = kOrbitFovX;
  const Camera camera = make_camera(orbit_camera_to_world(20, 10, kOrbitRadius), 31, 22, intrinsics);
  Renderer renderer(backend(), render_options(model.info.options));
  renderer.deform(model.gaussians, &model.field, 0.5f, 0.5f, false);
  const Renderer::View& view = renderer.render(camera);
  std::vector<float> weights(31 * 22 * 3, 0.0f);
  for (size_t i = 0; i < weights.size(); i += 3) weights[i] = 1, weights[i + 1] = 0.5f;
  const Tensor picture = Tensor::from_host(backend(), {22, 31, 3}, weights),
               sums = Tensor::zeros(backend(), {60, 3});
  renderer.weigh(picture, sums);
  renderer.weigh(picture, sums);
  double ones = 0, halves = 0;
  const std::vector<float> shares = sums.to_host(), alpha = view.alpha.to_host();
  for (size_t i = 0; i < shares.size(); i += 3) {
    ones += shares[i];
    halves += shares[i + 1];
    EXPECT_EQ(shares[i + 2], 0);
  }
  const double covered = std::accumulate(alpha.begin(), alpha.end(), 0.0);
  EXPECT_GT(covered, 1);
  EXPECT_NEAR(ones, 2 * covered, 1e-4 * covered);
  EXPECT_NEAR(halves, covered, 1e-4 * covered);
}

}  // namespace
}  // namespace eg4d
