#include "view/scene.h"

#include <gtest/gtest.h>

#include <cmath>

#include "backend/backend.h"
#include "splat/evaluation.h"
#include "splat/gaussian_cloud.h"
#include "splat/renderer.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/scene_decoder.h"
#include "support/tiny_model.h"
#include "view/scene_file.h"

namespace eg4d {
namespace {

class SceneOfModel : public test::OnEachDevice {
 protected:
  Scene scene_of(const Model& model, const SceneOptions& options = {}) {
    return scene_of_model(*backend_, model, options, [] { return false; });
  }
  const std::unique_ptr<Backend> backend_ = test::make_test_backend();
};

// The picture of plain Gaussians that were decoded from a scene file, from the side.
std::vector<float> picture_of_decoded(Backend& backend, const ModelInfo& info,
                                      const test::SceneFileParts& file, int moment, const Camera& camera) {
  const test::DecodedPose pose = test::decode_pose(file, moment);
  const test::DecodedColors colors = test::decode_colors(file);
  GaussianCloud cloud(file.head["gaussians"]);
  cloud.positions = pose.positions;
  cloud.log_scales = pose.log_scales;
  cloud.quaternions = pose.quaternions;
  for (size_t i = 0; i < colors.opacities.size(); ++i) {
    const float p = colors.opacities[i], gain = 1 + colors.gain_bias[4 * i];
    cloud.opacity_logits[i] = std::log(p / (1 - p));
    for (size_t c = 0; c < 3; ++c)
      cloud.sh_dc[3 * i + c] = gain * colors.sh_dc[3 * i + c] + colors.gain_bias[4 * i + 1 + c] / kSh0;
  }
  Model shown;
  shown.info.options = info.options;
  shown.gaussians = from_cloud(backend, cloud);
  Renderer renderer(backend, render_options(info.options));
  renderer.deform(shown.gaussians, nullptr, 0.0f, 0.0f, false);
  return renderer.render(camera).image.to_host();
}

TEST_P(SceneOfModel, WhatArrivesLooksLikeTheModel) {
  Model model = test::tiny_model(*backend_, 80, 0);  // degree 0: see Export
  const Scene scene = scene_of(model, {.moments = 5});
  std::string bytes;
  encode_scene(
      scene, {}, [&](const std::string& piece) { bytes += piece; }, [] { return false; });
  const auto file = test::take_apart(bytes);
  Intrinsics intrinsics;
  intrinsics.fov_x = kOrbitFovX;
  const Camera camera = make_camera(orbit_camera_to_world(20, 10, kOrbitRadius), 64, 48, intrinsics);
  Renderer renderer(*backend_, render_options(model.info.options));
  for (const int moment : {0, 2, 4}) {
    const float time = scene.moments[static_cast<size_t>(moment)].time;
    renderer.deform(model.gaussians, &model.field, time, color_time(model.info.options, time), false);
    const std::vector<float> truth = renderer.render(camera).image.to_host();
    EXPECT_LT(test::relative_error(picture_of_decoded(*backend_, model.info, file, moment, camera), truth),
              8e-3);
  }
}

TEST_P(SceneOfModel, MomentsAreThoseOfTheTrainingVideoAndOneBetweenAnyTwo) {
  const Model model = test::tiny_model(*backend_, 20, 3);
  const Scene scene = scene_of(model);
  ASSERT_EQ(scene.moments.size(), 9u);
  EXPECT_EQ(scene.moments[2].time, 0.25f);
  EXPECT_EQ(scene.frames, 5);
  EXPECT_EQ(scene_of(model, {.moments = 4}).moments.size(), 4u);
  EXPECT_EQ(scene.sh_degree, 3);
  EXPECT_EQ(scene.width, 40);
}

TEST_P(SceneOfModel, OwnColoursAreThoseOfEachTimeAndCanBeLeftOut) {
  const Model model = test::tiny_model(*backend_, 20, 3);
  const Scene scene = scene_of(model);
  ASSERT_TRUE(scene.has_own_colors());
  EXPECT_EQ(scene.moments[0].gain_bias, scene.gain_bias) << "the reference time is 0";
  EXPECT_NE(scene.moments[3].gain_bias, scene.gain_bias);
  EXPECT_FALSE(scene.has_own_opacities());
  EXPECT_FALSE(scene_of(model, {.own_colors = false}).has_own_colors());
}

TEST_P(SceneOfModel, WhatIsNeverSeenIsLeftOut) {
  Model model = test::tiny_model(*backend_, 10, 0);
  std::vector<float> logits = model.gaussians.opacity_logits.to_host();
  logits[3] = logits[7] = -8;  // 0.0003
  model.gaussians.opacity_logits.copy_from_host(logits.data(), logits.size() * sizeof(float));
  EXPECT_EQ(scene_of(model).count, 8);
}

// What is not finite keeps a place in the order, whatever it is.
TEST_P(SceneOfModel, PositionsThatAreNotFiniteAreNoTrouble) {
  Model model = test::tiny_model(*backend_, 10, 0);
  model.info.deforms = false;
  std::vector<float> positions = model.gaussians.positions.to_host();
  positions[0] = NAN;
  positions[4] = INFINITY;
  positions[8] = -INFINITY;
  model.gaussians.positions.copy_from_host(positions.data(), positions.size() * sizeof(float));
  EXPECT_EQ(scene_of(model).count, 10);
}

TEST_P(SceneOfModel, AStillModelHasOneMoment) {
  Model model = test::tiny_model(*backend_, 10, 1);
  model.info.deforms = false;
  const Scene scene = scene_of(model);
  ASSERT_EQ(scene.moments.size(), 1u);
  EXPECT_EQ(scene.moments[0].positions, scene.positions);
  EXPECT_FALSE(scene.has_own_colors());
}

TEST_P(SceneOfModel, QuaternionsLieInTheHalfOfTheCanonicalOnes) {
  const Model model = test::tiny_model(*backend_, 50, 0);
  const Scene scene = scene_of(model);
  for (const SceneMoment& moment : scene.moments)
    for (size_t i = 0; i < 50; ++i) {
      float dot = 0;
      for (size_t k = 0; k < 4; ++k) dot += moment.quaternions[4 * i + k] * scene.quaternions[4 * i + k];
      EXPECT_GE(dot, 0);
    }
}

TEST_P(SceneOfModel, EmptyModelsAndInterruptsAreSentences) {
  const Model model = test::tiny_model(*backend_, 5, 0), empty = test::tiny_model(*backend_, 0, 0);
  EXPECT_ERROR(scene_of(empty), "no Gaussians");
  EXPECT_ERROR(scene_of_model(*backend_, model, {}, [] { return true; }), "stopped after 0 of 9 moments");
}

EG4D_ON_EACH_DEVICE(SceneOfModel);

}  // namespace
}  // namespace eg4d
