#include "pipeline/render.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "backend/backend.h"
#include "core/interrupt.h"
#include "io/image.h"
#include "io/video.h"
#include "pipeline/evaluate.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/places.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

class Render : public test::OnEachDevice {
 protected:
  Render() {
    const Model model = test::tiny_model(*backend_, 60, 3);
    save_model(model_, model.info, model.gaussians, &model.field);
    job_.model = model_;
    job_.output = folder_ / "frames";
    job_.orbit.frames = 6;
  }
  void TearDown() override { clear_interrupt(); }
  Picture frame(int index) const {
    return read_picture(job_.output / ("frame_000" + std::to_string(index) + ".png"));
  }

  test::TemporaryFolder folder_;
  std::unique_ptr<Backend> backend_ = test::make_test_backend();
  std::filesystem::path model_ = folder_ / "model.safetensors";
  RenderJob job_;
  Progress quiet_;
};

TEST_P(Render, AnOrbitBecomesNumberedPictures) {
  const RenderResult result = render_model(*backend_, job_, quiet_);
  EXPECT_EQ(result.frames, 6);
  EXPECT_EQ(result.width, 40);
  EXPECT_EQ(result.height, 30);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(job_.output), {}), 6);
  EXPECT_EQ(frame(0).width, 40);
  EXPECT_NE(frame(0).data, frame(3).data);
}

TEST_P(Render, TimeRunsForwardAndBack) {
  job_.orbit.azimuth_from = job_.orbit.azimuth_to = 30;
  render_model(*backend_, job_, quiet_);
  EXPECT_EQ(frame(1).data, frame(5).data);
  EXPECT_EQ(frame(2).data, frame(4).data);
  EXPECT_NE(frame(0).data, frame(3).data);
  const Picture end = frame(3);
  job_.orbit.back = false;
  render_model(*backend_, job_, quiet_);
  EXPECT_EQ(frame(5).data, end.data);
}

TEST_P(Render, AFullTurnEndsBeforeItsStartAndAnArcAtItsEnd) {
  job_.orbit.time_to = 0;
  render_model(*backend_, job_, quiet_);
  EXPECT_NE(frame(5).data, frame(0).data);
  const Picture third = frame(2);  // 120 degrees
  job_.orbit.azimuth_to = 120;
  render_model(*backend_, job_, quiet_);
  EXPECT_EQ(frame(5).data, third.data);
}

TEST_P(Render, SizeElevationAndRadiusAreTaken) {
  job_.width = 21;
  job_.height = 17;
  job_.orbit.frames = 1;
  job_.orbit.elevation_from = job_.orbit.elevation_to = 90;
  job_.orbit.radius = 2;
  render_model(*backend_, job_, quiet_);
  EXPECT_EQ(frame(0).width, 21);
  EXPECT_EQ(frame(0).height, 17);
}

// The tiny model's colours change with time.
TEST_P(Render, ColoursAreReadWhenTheUserSays) {
  job_.orbit.time_from = job_.orbit.time_to = 0.5;
  job_.orbit.frames = 1;
  const auto shown = [&](const char* color_time) {
    set_color_time(job_.choice, color_time);
    render_model(*backend_, job_, quiet_);
    return frame(0).data;
  };
  const auto as_trained = shown("");
  EXPECT_EQ(shown("reference"), as_trained);  // preset paper's
  EXPECT_EQ(shown("0"), as_trained);
  EXPECT_NE(shown("own"), as_trained);
  EXPECT_EQ(shown("own"), shown("0.5"));
  EXPECT_NE(shown("1"), shown("0.5"));
  for (const char* wrong : {"always", "-1", "1.5", "0.5x", "nan"})
    EXPECT_ERROR(set_color_time(job_.choice, wrong), "--color-time is reference, own or a time");
}

TEST_P(Render, DepthIsBrightWhereNearAndBlackWhereNothingIs) {
  job_.depth = true;
  job_.orbit.frames = 1;
  render_model(*backend_, job_, quiet_);
  const Picture picture = frame(0);
  EXPECT_EQ(picture.data[0], 0);
  EXPECT_GT(*std::max_element(picture.data.begin(), picture.data.end()), 80);
}

TEST_P(Render, AVideoHasEveryFrame) {
  EG4D_TEST_NEEDS_VIDEO();
  job_.output = folder_ / "orbit.mp4";
  render_model(*backend_, job_, quiet_);
  VideoReader video(job_.output);
  int count = 0;
  while (video.next()) ++count;
  EXPECT_EQ(count, 6);
}

TEST_P(Render, AVideosTrueSizeIsTold) {
  EG4D_TEST_NEEDS_VIDEO();
  job_.output = folder_ / "ORBIT.MP4";
  job_.width = 21;
  job_.height = 17;
  const RenderResult result = render_model(*backend_, job_, quiet_);
  EXPECT_EQ(result.width, 21);
  const Picture frame = VideoReader(job_.output).next().value();
  EXPECT_EQ(result.file_width, frame.width);
  EXPECT_EQ(result.file_height, frame.height);
}

// Its later pictures would be taken for a part of the new rendering; what is not ours stays.
TEST_P(Render, ALongerRenderingBeforeLeavesNoPictures) {
  render_model(*backend_, job_, quiet_);
  for (const char* name : {"frame_12.png", "frame_0007.jpg", "frame_0008b.png", "other_0009.png"})
    test::write_text(job_.output / name, "mine");
  job_.orbit.frames = 2;
  EXPECT_EQ(render_model(*backend_, job_, quiet_).removed, 4);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(job_.output), {}), 2 + 4);
}

TEST_P(Render, CtrlCStopsAndLeavesNoHalfVideo) {
  EG4D_TEST_NEEDS_VIDEO();
  job_.output = folder_ / "orbit.mp4";
  request_interrupt();
  EXPECT_THROW(render_model(*backend_, job_, quiet_), Interrupted);
  EXPECT_FALSE(std::filesystem::exists(job_.output));
}

TEST_P(Render, DatasetCamerasWithTheTruthBeside) {
  test::write_tiny_dataset(folder_ / "dataset", 3, 2, 24, 20);
  job_.split = "train";
  EXPECT_ERROR(render_model(*backend_, job_, quiet_), "name the dataset");
  job_.dataset = folder_ / "dataset";
  job_.truth = true;
  const RenderResult result = render_model(*backend_, job_, quiet_);
  EXPECT_EQ(result.frames, 4);
  EXPECT_EQ(frame(0).width, 48);
  job_.split = "novel";
  EXPECT_ERROR(render_model(*backend_, job_, quiet_), "no split 'novel'; it has: test, train");
}

TEST_P(Render, EvaluationAgreesWithRenderedPictures) {
  test::write_tiny_dataset(folder_ / "dataset", 3, 2, 24, 20);
  EvaluateJob job;
  job.model = model_;
  job.dataset = folder_ / "dataset";
  job.split = "test";
  job.pictures = folder_ / "pictures";
  const EvaluateResult result = evaluate_model(*backend_, job, quiet_);
  EXPECT_EQ(result.metrics.views.size(), 2u);
  EXPECT_EQ(result.iterations, 77);
  EXPECT_EQ(result.gaussians, 60);
  job_.split = "test";
  job_.dataset = job.dataset;
  job_.truth = true;
  render_model(*backend_, job_, quiet_);
  EXPECT_EQ(frame(1).data, read_picture(job.pictures / "views_0_images_000001.png").data);
  EXPECT_TRUE(test::contains(to_json(result, "test"), "\"file\": \"views/0/images/000001.png\""));
  job.dataset.clear();
  EXPECT_ERROR(evaluate_model(*backend_, job, quiet_), "name the dataset");
}

TEST_P(Render, ADamagedModelIsNamed) {
  std::filesystem::resize_file(model_, std::filesystem::file_size(model_) - 100);
  EXPECT_ERROR(render_model(*backend_, job_, quiet_), "model.safetensors");
  EXPECT_FALSE(std::filesystem::exists(job_.output));
}

EG4D_ON_EACH_DEVICE(Render);

}  // namespace
}  // namespace eg4d
