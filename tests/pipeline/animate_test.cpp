#include "pipeline/animate.h"

#include <gtest/gtest.h>

#include "io/video.h"
#include "scene/frame_source.h"
#include "support/expect_error.h"
#include "support/stage_one_fixture.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using test::StageOne;

TEST_P(StageOne, AnimateMakesAVideoOnce) {
  const AnimateJob job = animate_job("run");
  const AnimateResult result = animate(*backend, job, silent);
  EXPECT_EQ(picture_files(result.frames).size(), 3u);
  EXPECT_EQ(read_picture(result.frames / "frame_000.png").width, 64);
  EXPECT_TRUE(VideoReader(result.video).next());
  EXPECT_FALSE(fs::exists(result.frames / "latents.safetensors"));
  EXPECT_TRUE(animate(*backend, job, silent).already_done);

  AnimateJob other = job;
  other.options.motion.motion_bucket_id = 30;
  EXPECT_ERROR(animate(*backend, other, silent), "motion.bucket_id is 30");
  other.overwrite = true;
  EXPECT_FALSE(animate(*backend, other, silent).already_done);
  AnimateJob wrong = animate_job("wrong");
  wrong.model.path = folder / "sv3d.safetensors";
  EXPECT_ERROR(animate(*backend, wrong, silent), "animate needs an SVD model");
}

TEST_P(StageOne, AFailingCheckLeavesNothingBehind) {
  AnimateJob wrong = animate_job("run");
  wrong.options.sampling.rng = "foo";
  EXPECT_ERROR(animate(*backend, wrong, silent), "foo");
  EXPECT_FALSE(fs::exists(folder / "run/video"));
  animate(*backend, animate_job("run"), silent);
}

TEST_P(StageOne, TheSeedAndTheStreamDecide) {
  AnimateJob job = animate_job("a");
  animate(*backend, job, silent);
  job.output = folder / "b";
  job.options.sampling.seed = 24;
  animate(*backend, job, silent);
  EXPECT_NE(bytes_of(folder / "a/video"), bytes_of(folder / "b/video"));
  job.output = folder / "c";
  job.options.sampling.rng = "torch-cpu";
  animate(*backend, job, silent);
  EXPECT_NE(bytes_of(folder / "b/video"), bytes_of(folder / "c/video"));
}

EG4D_ON_EACH_DEVICE(StageOne);

}  // namespace
}  // namespace eg4d
