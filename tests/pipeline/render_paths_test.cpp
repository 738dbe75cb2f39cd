// Where the camera goes and what a frame shows, beyond an orbit in colours.
#include <gtest/gtest.h>

#include <cmath>

#include "backend/backend.h"
#include "io/image.h"
#include "io/video.h"
#include "pipeline/frame_pictures.h"
#include "pipeline/render.h"
#include "pipeline/shots.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/places.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

class RenderPaths : public test::OnEachDevice {
 protected:
  RenderPaths() {
    const Model model = test::tiny_model(*backend_, 60, 3);
    info_ = model.info;
    save_model(folder_ / "model.safetensors", model.info, model.gaussians, &model.field);
    job_.model = folder_ / "model.safetensors";
    job_.output = folder_ / "frames";
    job_.orbit.frames = 3;
  }
  Picture frame(int index) const {
    return read_picture(job_.output / ("frame_000" + std::to_string(index) + ".png"));
  }
  Picture rendered(RenderBackground background) {
    job_.background = background;
    render_model(*backend_, job_, quiet_);
    return frame(0);
  }

  test::TemporaryFolder folder_;
  std::unique_ptr<Backend> backend_ = test::make_test_backend();
  ModelInfo info_;
  RenderJob job_;
  Progress quiet_;
};

// What is transparent, laid on white or black, is what is rendered on it: within the steps of 8-bit colours
// that are divided by a coverage.
TEST_P(RenderPaths, ATransparentPictureLaidOnAColourIsTheRenderOnIt) {
  job_.orbit.frames = 1;
  const Picture white = rendered(RenderBackground::white), black = rendered(RenderBackground::black),
                clear = rendered(RenderBackground::transparent);
  ASSERT_EQ(clear.channels, 4);
  EXPECT_NE(white.data, black.data);
  const Picture on_white = compose_on_background(clear, 255), on_black = compose_on_background(clear, 0);
  int worst = 0, covered = 0;
  for (size_t i = 0; i < white.data.size(); ++i) {
    covered += clear.data[i / 3 * 4 + 3] > 250;
    // Colours above white are cut before they are blended in the one and after it in the other.
    if (clear.data[i / 3 * 4 + i % 3] == 255) continue;
    worst = std::max(
        {worst, std::abs(on_white.data[i] - white.data[i]), std::abs(on_black.data[i] - black.data[i])});
  }
  EXPECT_LE(worst, 2);
  EXPECT_GT(covered, 0);
  EXPECT_EQ(clear.data[3], 0);  // a corner
}

TEST_P(RenderPaths, FoldersAreWrittenAsPngOrWebp) {
  job_.webp = true;
  job_.background = RenderBackground::transparent;
  render_model(*backend_, job_, quiet_);
  EXPECT_EQ(std::distance(fs::directory_iterator(job_.output), {}), 3);
  const Picture webp = read_picture(job_.output / "frame_0002.webp");
  job_.webp = false;
  render_model(*backend_, job_, quiet_);
  EXPECT_EQ(webp.data, frame(2).data);
}

TEST_P(RenderPaths, VideosKeepTransparency) {
  EG4D_TEST_NEEDS_VIDEO();
  job_.background = RenderBackground::transparent;
  render_model(*backend_, job_, quiet_);
  const Picture truth = frame(0);
  for (const char* name : {"a.webm", "a.mov"}) {
    SCOPED_TRACE(name);
    const fs::path folder = job_.output;
    job_.output = folder_ / name;
    render_model(*backend_, job_, quiet_);
    VideoReader reader(job_.output, {}, true);
    const Picture seen = reader.next().value();
    job_.output = folder;
    ASSERT_EQ(seen.channels, 4);
    double difference = 0;
    for (size_t i = 3; i < truth.data.size(); i += 4) difference += std::abs(seen.data[i] - truth.data[i]);
    EXPECT_LT(difference / (static_cast<double>(truth.data.size()) / 4), 6);
  }
  job_.output = folder_ / "a.mp4";
  EXPECT_ERROR(render_model(*backend_, job_, quiet_), "MP4 has no transparency; name it .webm or .mov");
  EXPECT_FALSE(fs::exists(job_.output));
}

TEST_P(RenderPaths, SupersampledPicturesAreMeansOfLargerOnes) {
  job_.orbit.frames = 1;
  job_.width = 3 * 20;
  job_.height = 3 * 15;
  render_model(*backend_, job_, quiet_);
  const Picture large = frame(0);
  job_.width = 20;
  job_.height = 15;
  job_.supersample = 3;
  const RenderResult result = render_model(*backend_, job_, quiet_);
  EXPECT_EQ(result.width, 20);
  EXPECT_EQ(frame(0).data, box_average(large, 3).data);
  job_.supersample = 16;
  job_.width = 2000;
  EXPECT_ERROR(render_model(*backend_, job_, quiet_), "are more than 16384 a side");
}

TEST_P(RenderPaths, ThePublishedOrbitHasThreeStandpoints) {
  job_.path = "eg4d";
  const std::vector<Shot> shots = make_shots(job_, info_);
  ASSERT_EQ(shots.size(), 75u);
  const double side = 4 * std::sqrt(0.5);
  EXPECT_NEAR(shots[0].camera.center[0], side, 1e-5);
  EXPECT_NEAR(shots[0].camera.center[1], -side, 1e-5);
  EXPECT_NEAR(shots[30].camera.center[0], 4, 1e-5);
  EXPECT_NEAR(shots[74].camera.center[1], side, 1e-5);
  EXPECT_FLOAT_EQ(shots[0].time, 0);
  EXPECT_FLOAT_EQ(shots[24].time, 1);
  EXPECT_FLOAT_EQ(shots[25].time, 1);
  EXPECT_FLOAT_EQ(shots[49].time, 0);
  EXPECT_FLOAT_EQ(shots[74].time, 1);
  EXPECT_EQ(shots[0].camera.width, 576);
}

// 3 views at 3 times: 2·3 frames, groups 0 1 2 1 0 1, cameras 0 1 2 0 1 2.
TEST_P(RenderPaths, TheVideoCamerasWalkThroughViewsWhileTimeRunsForthAndBack) {
  test::write_tiny_dataset(folder_ / "dataset", 3, 3, 24, 20);
  job_.path = "video";
  job_.dataset = folder_ / "dataset";
  const std::vector<Shot> shots = make_shots(job_, info_);
  ASSERT_EQ(shots.size(), 6u);
  const int views[] = {0, 1, 2, 0, 1, 2}, times[] = {0, 1, 2, 1, 0, 1};
  for (size_t i = 0; i < shots.size(); ++i)
    EXPECT_TRUE(
        test::contains(shots[i].truth.generic_string(),
                       "views/" + std::to_string(views[i]) + "/images/00000" + std::to_string(times[i])))
        << i << " " << shots[i].truth;
  job_.truth = true;
  EXPECT_EQ(render_model(*backend_, job_, quiet_).width, 48);
}

// Keys that are an orbit's corners give the orbit's pictures.
TEST_P(RenderPaths, KeyCamerasMakeAPath) {
  job_.orbit.azimuth_to = 120;
  job_.orbit.back = false;
  render_model(*backend_, job_, quiet_);
  const Picture start = frame(0), middle = frame(1), end = frame(2);
  job_.path = folder_ / "keys.json";
  test::write_text(job_.path, R"({"keys": [{"azimuth": 0, "seconds": 0}, {"azimuth": 120, "seconds": 1}]})");
  job_.fps = 2;
  EXPECT_EQ(render_model(*backend_, job_, quiet_).frames, 3);
  EXPECT_EQ(frame(0).data, start.data);
  EXPECT_EQ(frame(2).data, end.data);
  EXPECT_EQ(frame(1).width, middle.width);
  job_.path_frames = 5;
  EXPECT_EQ(render_model(*backend_, job_, quiet_).frames, 5);
  EXPECT_EQ(frame(4).data, end.data);
  job_.path_frames = 0;
  job_.fps = 240;
  test::write_text(job_.path,
                   R"({"keys": [{"azimuth": 0, "seconds": 0}, {"azimuth": 120, "seconds": 86400}]})");
  EXPECT_ERROR(render_model(*backend_, job_, quiet_), "at most 1000000 can be made");
}

TEST_P(RenderPaths, ThePythonProgramsFolders) {
  test::write_tiny_dataset(folder_ / "dataset", 3, 2, 24, 20);
  job_.dataset = folder_ / "dataset";
  job_.split = "test";
  job_.output = folder_ / "test/ours_30000";
  job_.reference_folders = true;
  fs::create_directories(job_.output / "renders");
  test::write_text(job_.output / "renders/00007.png", "of a longer one");
  EXPECT_EQ(render_model(*backend_, job_, quiet_).removed, 1);
  for (const char* folder : {"renders", "gt"})
    for (const char* name : {"00000.png", "00001.png"})
      EXPECT_EQ(read_picture(job_.output / folder / name).width, 24) << folder << name;
  EXPECT_EQ(read_picture(job_.output / "gt/00001.png").data,
            compose_on_background(read_picture(folder_ / "dataset/views/0/images/000001.png"), 255).data);
  EXPECT_EQ(fs::exists(job_.output / "video_rgb.mp4"), can_write_videos());
}

EG4D_ON_EACH_DEVICE(RenderPaths);

// A plane that is tilted about the vertical axis: its normal is known.
class Normals : public test::OnEachDevice {};
TEST_P(Normals, OfATiltedPlane) {
  const auto backend = test::make_test_backend();
  constexpr int kSide = 16;
  Intrinsics intrinsics;
  intrinsics.fov_x = 0.7;
  const Camera camera = make_camera(orbit_camera_to_world(0, 0, 4), kSide, kSide, intrinsics);
  // z = 4 + x/2 in the camera's axes (x to the right), so z = 4 / (1 - x'/2), x' = x/z.
  std::vector<float> depth, alpha;
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x) {
      const double across = ((2.0 * x + 1) / kSide - 1) * std::tan(0.35);
      const float share = x < 2 ? 0.2f : 0.8f;
      alpha.push_back(share);
      depth.push_back(static_cast<float>(4 / (1 - across / 2)) * share);
    }
  Renderer::View view;
  view.depth = Tensor::from_host<float>(*backend, {kSide, kSide}, depth);
  view.alpha = Tensor::from_host<float>(*backend, {kSide, kSide}, alpha);
  const Picture picture = normal_picture(view, camera, true);
  // The plane runs away to the right, so it faces to the right: (1/2, 0, 1) normalised.
  const double length = std::hypot(0.5, 1.0);
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x) {
      const uint8_t* pixel = &picture.data[(static_cast<size_t>(y) * kSide + static_cast<size_t>(x)) * 4];
      EXPECT_EQ(pixel[3], x < 2 ? 0 : 255);
      if (x < 2) continue;
      EXPECT_NEAR(pixel[0], 255 * (0.5 + 0.5 * 0.5 / length), 1.5) << x << " " << y;
      EXPECT_NEAR(pixel[1], 127.5, 1.5);
      EXPECT_NEAR(pixel[2], 255 * (0.5 + 0.5 / length), 1.5);
    }
}
EG4D_ON_EACH_DEVICE(Normals);

TEST(BoxAverage, ColoursAreWeightedByAlpha) {
  Picture picture(2, 2, 4);
  picture.data = {200, 0, 0, 255, 0, 100, 0, 255, 77, 77, 77, 0, 99, 99, 99, 0};
  EXPECT_EQ(box_average(picture, 2).data, (std::vector<uint8_t>{100, 50, 0, 128}));
  Picture grey(2, 2, 3);
  grey.data = {0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 15};
  EXPECT_EQ(box_average(grey, 2).data, (std::vector<uint8_t>{6, 7, 8}));
}

}  // namespace
}  // namespace eg4d
