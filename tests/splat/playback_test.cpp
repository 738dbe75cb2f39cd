#include "splat/playback.h"

#include <gtest/gtest.h>

#include "support/device_fixture.h"
#include "support/tiny_model.h"

namespace eg4d {
namespace {

Camera camera_from(double azimuth) {
  Intrinsics intrinsics;
  intrinsics.fov_x = kOrbitFovX;
  return make_camera(orbit_camera_to_world(azimuth, 10, kOrbitRadius), 31, 22, intrinsics);
}

class PlaybackTest : public test::OnEachDevice {
 protected:
  std::vector<float> picture(Playback& playback, float time, bool keep, double azimuth = 20) {
    playback.turn_to(time, keep);
    return playback.render(camera_from(azimuth)).image.to_host();
  }
  const Model model_ = test::tiny_model(backend(), 60, 3);
};

TEST_P(PlaybackTest, KeptTimesLookAsDeformedOnes) {
  Playback playback(backend(), model_.gaussians, &model_.field, model_.info.options);
  const auto first = picture(playback, 0.25f, true), second = picture(playback, 0.75f, true);
  EXPECT_NE(first, second);
  EXPECT_EQ(picture(playback, 0.25f, false), first);
  EXPECT_NE(picture(playback, 0.25f, false, 90), first);
  EXPECT_EQ(picture(playback, 0.75f, false), second);
  EXPECT_EQ(playback.kept(), 2u);
  playback.forget(0.25f);
  EXPECT_EQ(playback.kept(), 1u);
  EXPECT_EQ(picture(playback, 0.25f, false), first);
}

// Colours of the reference time are evaluated once, whatever comes between.
TEST_P(PlaybackTest, ColoursOfTheReferenceTimeStay) {
  ReconstructOptions options = model_.info.options;
  options.deformation.color_time = ColorTime::reference;
  options.deformation.reference_time = 0.5f;
  options.deformation.opacity = true;
  Playback playback(backend(), model_.gaussians, &model_.field, options);
  for (const float time : {0.25f, 0.5f, 0.75f, 0.25f, 1.0f}) {
    Playback fresh(backend(), model_.gaussians, &model_.field, options);
    EXPECT_EQ(picture(playback, time, time == 0.25f), picture(fresh, time, false)) << time;
  }
}

TEST_P(PlaybackTest, KeepsNoMoreThanThereIsRoomFor) {
  Playback playback(backend(), model_.gaussians, &model_.field, model_.info.options, 60 * 60 + 1);
  const auto first = picture(playback, 0.25f, true), second = picture(playback, 0.75f, true);
  EXPECT_EQ(playback.kept(), 1u);
  EXPECT_EQ(picture(playback, 0.25f, true), first);
  EXPECT_EQ(picture(playback, 0.75f, true), second);
}

TEST_P(PlaybackTest, WithoutFieldAllTimesAreOne) {
  Playback playback(backend(), model_.gaussians, nullptr, model_.info.options);
  EXPECT_EQ(picture(playback, 0.25f, true), picture(playback, 0.75f, true));
  EXPECT_EQ(playback.kept(), 0u);
}

EG4D_ON_EACH_DEVICE(PlaybackTest);

}  // namespace
}  // namespace eg4d
