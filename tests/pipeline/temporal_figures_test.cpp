#include "pipeline/temporal_figures.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "scene/camera.h"

namespace eg4d {
namespace {

Picture grey(uint8_t value) {
  Picture picture(4, 3, 3);
  std::fill(picture.data.begin(), picture.data.end(), value);
  return picture;
}

Camera camera_at(double azimuth) {
  Intrinsics intrinsics;
  intrinsics.fov_x = 0.7;
  return make_camera(orbit_camera_to_world(azimuth, 0, 4), 4, 3, intrinsics);
}

// Two cameras in turn, as an evaluation goes through them; truth moves evenly, the render flickers.
TEST(TemporalFigures, NeighboursAreThoseOfOneCamera) {
  TemporalFigures figures;
  const uint8_t renders[] = {100, 151, 100}, truths[] = {100, 110, 120};
  for (size_t t = 0; t < 3; ++t) {
    figures.add(camera_at(0), grey(renders[t]), grey(truths[t]), {1, 0}, {1, 0});
    figures.add(camera_at(90), grey(7), grey(7), t == 1 ? std::vector<float>{0, 1} : std::vector<float>{1, 0},
                {1, 0});
  }
  const auto found = figures.figures();
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].key, "flicker");
  EXPECT_EQ(found[0].count, 4);
  EXPECT_NEAR(found[0].render, 51.0 / 255 / 2, 1e-12);  // one camera of two moves
  EXPECT_NEAR(found[0].truth, 10.0 / 255 / 2, 1e-12);
  EXPECT_EQ(found[1].key, "acceleration");
  EXPECT_EQ(found[1].count, 2);
  EXPECT_NEAR(found[1].render, 102.0 / 255 / 2, 1e-12);
  EXPECT_NEAR(found[1].truth, 0, 1e-12);
  EXPECT_EQ(found[2].key, "clip_t");
  EXPECT_NEAR(found[2].render, 0.5, 1e-6);
  EXPECT_NEAR(found[2].truth, 1, 1e-6);
}

TEST(TemporalFigures, OnePictureOfACameraTellsNothing) {
  TemporalFigures figures;
  EXPECT_TRUE(figures.figures().empty());
  figures.add(camera_at(0), grey(1), grey(2), {}, {});
  figures.add(camera_at(90), grey(1), grey(2), {}, {});
  EXPECT_TRUE(figures.figures().empty());
  figures.add(camera_at(0), grey(1), grey(2), {}, {});
  ASSERT_EQ(figures.figures().size(), 1u);  // a pair, no triple, no CLIP
}

}  // namespace
}  // namespace eg4d
