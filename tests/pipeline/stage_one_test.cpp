// Stage I from a picture to a dataset, with small random networks.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "core/interrupt.h"
#include "core/process.h"
#include "io/video.h"
#include "pipeline/animate.h"
#include "pipeline/multiview.h"
#include "scene/dataset.h"
#include "scene/frame_source.h"
#include "scene/input_picture.h"
#include "support/expect_error.h"
#include "support/run_program.h"
#include "support/temporary_folder.h"
#include "support/tiny_video_model.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

Picture gradient(int side) {
  Picture picture(side, side, 3);
  for (size_t i = 0; i < picture.data.size(); ++i) picture.data[i] = static_cast<uint8_t>(i * 7 % 251);
  return picture;
}

// Asks to stop after so many updates of the piece of work with that label.
class StoppingProgress : public Progress {
 public:
  StoppingProgress(std::string label, int updates) : label_(std::move(label)), left_(updates) {}
  void begin(int64_t, const std::string& label, int64_t) override { current_ = label; }
  void update(int64_t, std::initializer_list<Figure>) override {
    if (current_ == label_ && --left_ == 0) request_interrupt();
  }

 private:
  std::string label_, current_;
  int left_;
};

class StageOne : public testing::Test {
 protected:
  void SetUp() override {
    test::write_tiny_model(test::TinyModel::svd, folder / "svd.safetensors");
    test::write_tiny_model(test::TinyModel::sv3d_p, folder / "sv3d.safetensors");
    write_png(folder / "photo.png", gradient(40));
  }
  void TearDown() override { clear_interrupt(); }

  AnimateJob animate_job(const std::string& run) const {
    AnimateJob job;
    job.picture = folder / "photo.png";
    job.output = folder / run;
    job.model.path = folder / "svd.safetensors";
    job.options.frames = 3;
    job.options.side = 32;
    job.options.sampling.schedule.steps = 4;
    return job;
  }

  MultiviewJob multiview_job(const std::string& run) const {
    MultiviewJob job;
    job.video = folder / "frames";
    job.output = folder / run;
    job.model.path = folder / "sv3d.safetensors";
    job.options.views = 4;
    job.options.side = 64;
    job.options.sampling.schedule.steps = 3;
    return job;
  }

  void write_frames(int count) {
    fs::create_directories(folder / "frames");
    for (int i = 0; i < count; ++i)
      write_png(folder / ("frames/" + std::to_string(i) + ".png"), gradient(50 + 3 * i));
  }

  std::string bytes_of(const fs::path& run) const {
    std::string all;
    for (const fs::path& file : picture_files(run)) all += test::read_text(file);
    return all;
  }

  const TemporaryFolder folder;
  std::unique_ptr<Backend> backend = make_cpu_backend();
  Progress silent;
};

TEST_F(StageOne, AnimateMakesAVideoOnce) {
  const AnimateJob job = animate_job("run");
  const AnimateResult result = animate(*backend, job, silent);
  EXPECT_EQ(picture_files(result.frames).size(), 3u);
  EXPECT_EQ(read_picture(result.frames / "frame_000.png").width, 32);
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

// A video that stands still then has views that stand still.
TEST_F(StageOne, ViewsOfAllFramesCanStartFromTheSameNoise) {
  fs::create_directories(folder / "frames");
  for (const char* name : {"frames/0.png", "frames/1.png"}) write_png(folder / name, gradient(64));
  MultiviewJob job = multiview_job("run");
  job.options.injection = false;
  job.options.cond_aug = 0;
  const auto view = [&](const MultiviewResult& result, const char* file) {
    return read_picture(result.dataset / file).data;
  };
  const MultiviewResult other = multiview(*backend, job, silent);
  EXPECT_NE(view(other, "000000/00000002.png"), view(other, "000001/00000002.png"));
  job = multiview_job("steady");
  job.options.injection = false;
  job.options.cond_aug = 0;
  job.options.same_noise = true;
  const MultiviewResult steady = multiview(*backend, job, silent);
  EXPECT_EQ(view(steady, "000000/00000002.png"), view(steady, "000001/00000002.png"));
  EXPECT_EQ(view(steady, "000000/00000002.png"), view(other, "000000/00000002.png"));
}

TEST_F(StageOne, AnimateContinuesToTheSameBits) {
  animate(*backend, animate_job("whole"), silent);
  StoppingProgress in_second_step("denoising", 4), in_decoding("decoding", 1);
  for (StoppingProgress* progress : {&in_second_step, &in_decoding}) {
    EXPECT_THROW(animate(*backend, animate_job("parts"), *progress), Interrupted);
    EXPECT_TRUE(fs::exists(folder / "parts/video/latents.safetensors"));
    clear_interrupt();
  }
  animate(*backend, animate_job("parts"), silent);
  EXPECT_EQ(bytes_of(folder / "parts/video"), bytes_of(folder / "whole/video"));
}

TEST_F(StageOne, AMissingPictureIsMadeAgain) {
  AnimateJob job = animate_job("run");
  animate(*backend, job, silent);
  const std::string frames = bytes_of(folder / "run/video");
  fs::remove(folder / "run/video/frame_001.png");
  fs::remove(folder / "run/video.mp4");
  EXPECT_FALSE(animate(*backend, job, silent).already_done);
  EXPECT_EQ(bytes_of(folder / "run/video"), frames);
  EXPECT_TRUE(fs::exists(folder / "run/video.mp4"));
  EXPECT_TRUE(animate(*backend, job, silent).already_done);

  write_frames(2);
  const MultiviewJob views = multiview_job("run");
  multiview(*backend, views, silent);
  const fs::path dataset = folder / "run/multiviews";
  const std::string painted = bytes_of(dataset / "000001");
  for (const char* file :
       {"000001/00000002.png", "transforms_val.json", "back.mp4", "views/00000001/images/000000.png"}) {
    fs::remove(dataset / file);
    EXPECT_FALSE(multiview(*backend, views, silent).already_done);
    EXPECT_TRUE(fs::exists(dataset / file)) << file;
    EXPECT_TRUE(multiview(*backend, views, silent).already_done);
  }
  EXPECT_EQ(bytes_of(dataset / "000001"), painted);
}

TEST_F(StageOne, AFailingCheckLeavesNothingBehind) {
  AnimateJob wrong = animate_job("run");
  wrong.options.sampling.rng = "foo";
  EXPECT_ERROR(animate(*backend, wrong, silent), "foo");
  EXPECT_FALSE(fs::exists(folder / "run/video"));
  EXPECT_NO_THROW(animate(*backend, animate_job("run"), silent));
}

TEST_F(StageOne, ADamagedStateIsToldWithWhatToDo) {
  StoppingProgress in_second_step("denoising", 2);
  EXPECT_THROW(animate(*backend, animate_job("run"), in_second_step), Interrupted);
  clear_interrupt();
  for (const char* name : {"run/video/latents.safetensors", "run/video/conditions.safetensors"}) {
    std::string state = test::read_text(folder / name);
    const std::string whole = state;
    state[state.size() - 5] = static_cast<char>(state[state.size() - 5] ^ 1);
    test::write_text(folder / name, state);
    EXPECT_ERROR(animate(*backend, animate_job("run"), silent), "is damaged: delete it");
    test::write_text(folder / name, whole);
  }
  EXPECT_NO_THROW(animate(*backend, animate_job("run"), silent));
}

TEST_F(StageOne, TheSeedAndTheStreamDecide) {
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

TEST_F(StageOne, MultiviewMakesADataset) {
  write_frames(3);
  const MultiviewJob job = multiview_job("run");
  const auto guarded = make_cpu_backend({.guard_memory = true});
  const MultiviewResult result = multiview(*guarded, job, silent);
  EXPECT_EQ(result.frames, 3);
  const Dataset dataset(result.dataset);
  EXPECT_EQ(dataset.read_split("train").frames.size(), 9u);
  EXPECT_EQ(dataset.read_split("test").frames.size(), 3u);
  // The last view is the frame itself.
  const Picture last = read_picture(result.dataset / "000001/00000004.png");
  EXPECT_EQ(last.data, read_frames(folder / "frames", 9,
                                   [](const Picture& frame) { return multiview_input(frame, 64).picture; })[1]
                           .data);
  EXPECT_TRUE(multiview(*backend, job, silent).already_done);

  MultiviewJob wrong = multiview_job("wrong");
  wrong.model.path = folder / "svd.safetensors";
  EXPECT_ERROR(multiview(*backend, wrong, silent), "multiview needs an SV3D model");
  wrong = multiview_job("wrong");
  wrong.options.keep_bg = false;
  wrong.options.matting = "sv3d_p";
  EXPECT_ERROR(multiview(*backend, wrong, silent), "sv3d_p cuts nothing out");
  wrong.options.matting = "none.onnx";
  EXPECT_ERROR(multiview(*backend, wrong, silent), "there is no model file none.onnx");
  wrong = multiview_job("wrong");
  wrong.options.side = 72;
  EXPECT_ERROR(multiview(*backend, wrong, silent), "multiple of 64");
  EXPECT_FALSE(fs::exists(folder / "wrong"));
}

TEST_F(StageOne, MultiviewCutsTheObjectOut) {
  write_frames(1);
  Picture object = gradient(40);  // transparent but for a part: no matting is needed
  Picture transparent(40, 40, 4);
  for (size_t i = 0; i < 40 * 40; ++i) {
    std::copy_n(&object.data[3 * i], 3, &transparent.data[4 * i]);
    transparent.data[4 * i + 3] = i / 40 > 5 && i / 40 < 20 && i % 40 > 10 ? 255 : 0;
  }
  write_png(folder / "frames/1.png", transparent);
  MultiviewJob job = multiview_job("run");
  job.options.keep_bg = false;
  job.options.matting = fs::path(EG4D_TEST_DATA) / "u2net/u2net.onnx";
  job.options.image_frame_ratio = 0.8;
  const MultiviewResult result = multiview(*backend, job, silent);
  EXPECT_EQ(result.frames, 2);
  const Picture last = read_picture(result.dataset / "000001/00000004.png");
  EXPECT_EQ(last.data, recentred_input(transparent, 0.8, 64).picture.data);
  EXPECT_EQ(last.data[0], 255);  // the corner is white
  EXPECT_EQ(read_picture(result.dataset / "000000/00000004.png").width, 64);
}

TEST_F(StageOne, MultiviewContinuesToTheSameBits) {
  write_frames(2);
  multiview(*backend, multiview_job("whole"), silent);
  StoppingProgress in_second_step("denoising", 4), in_decoding("decoding", 3);
  for (StoppingProgress* progress : {&in_second_step, &in_decoding}) {
    EXPECT_THROW(multiview(*backend, multiview_job("parts"), *progress), Interrupted);
    clear_interrupt();
  }
  multiview(*backend, multiview_job("parts"), silent);
  for (const std::string time : {"000000", "000001"})
    EXPECT_EQ(bytes_of(folder / ("parts/multiviews/" + time)),
              bytes_of(folder / ("whole/multiviews/" + time)));
}

TEST_F(StageOne, InjectionChangesLaterFramesOnly) {
  write_frames(2);
  multiview(*backend, multiview_job("with"), silent);
  MultiviewJob without = multiview_job("without");
  without.options.injection = false;
  multiview(*backend, without, silent);
  EXPECT_EQ(bytes_of(folder / "with/multiviews/000000"), bytes_of(folder / "without/multiviews/000000"));
  EXPECT_NE(bytes_of(folder / "with/multiviews/000001"), bytes_of(folder / "without/multiviews/000001"));
}

// Step-major order: what is kept for the injection does not grow with the steps.
TEST_F(StageOne, MemoryIsIndependentOfTheSteps) {
  write_frames(3);
  size_t peaks[2];
  for (int i = 0; i < 2; ++i) {
    const auto fresh = make_cpu_backend();
    MultiviewJob job = multiview_job("run" + std::to_string(i));
    job.options.views = 2;
    job.options.sampling.schedule.steps = i == 0 ? 2 : 20;
    multiview(*fresh, job, silent);
    peaks[i] = fresh->peak_allocated_bytes();
  }
  EXPECT_NEAR(static_cast<double>(peaks[1]) / static_cast<double>(peaks[0]), 1, 0.01);
}

TEST_F(StageOne, FromAPictureToAModelOnTheCommandLine) {
  const std::string run = folder / "run";
  const auto animated =
      test::run_program({"animate", folder / "photo.png", "-o", run, "--model", folder / "svd.safetensors",
                         "--side", "64", "--frames", "3", "--sampler.steps", "2"});
  ASSERT_EQ(animated.exit_code, 0) << animated.errors;
  const auto painted = test::run_program({"multiview", run, "--model", folder / "sv3d.safetensors", "--side",
                                          "64", "--views", "5", "--sampler.steps", "2"});
  ASSERT_EQ(painted.exit_code, 0) << painted.errors;
  const auto trained = test::run_program(
      {"reconstruct", run, "--preset", "fast", "--set", "schedule.coarse_iterations=5", "--set",
       "schedule.fine_iterations=5", "--set", "start.count=50", "--set", "start.points=random"});
  ASSERT_EQ(trained.exit_code, 0) << trained.errors;
  EXPECT_TRUE(fs::exists(folder / "run/coarse/model.safetensors"));
}

// kill -9 at any moment.
TEST_F(StageOne, KilledRunsContinueToTheSameBits) {
  std::vector<std::string> arguments = {
      "animate", folder / "photo.png", "--model", folder / "svd.safetensors", "--side",
      "64",      "--frames",           "3",       "--sampler.steps",          "12",
      "-o"};
  auto whole = arguments;
  whole.push_back(folder / "whole");
  ASSERT_EQ(test::run_program(whole).exit_code, 0);
  std::vector<std::string> killed = {"-s", "KILL", "0", EG4D_PROGRAM};
  killed.insert(killed.end(), arguments.begin(), arguments.end());
  killed.push_back(folder / "killed");
  int kills = 0;
  for (int attempt = 1; attempt < 60; ++attempt) {
    killed[2] = std::to_string(0.1 * attempt);
    if (run_process(*find_program("timeout"), killed).exit_code == 0) break;
    ++kills;
  }
  EXPECT_GT(kills, 0);
  EXPECT_EQ(bytes_of(folder / "killed/video"), bytes_of(folder / "whole/video"));
}

TEST_F(StageOne, BadInputIsOneSentence) {
  const auto fails = [&](std::vector<std::string> arguments, const std::string& part) {
    arguments.insert(arguments.end(), {"-o", folder / "out"});
    const auto result = test::run_program(arguments);
    EXPECT_EQ(result.exit_code, 1) << result.errors;
    EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
    EXPECT_TRUE(test::contains(result.errors, part)) << result.errors;
    EXPECT_FALSE(fs::exists(folder / "out/video/manifest.json"));
  };
  const std::string svd = folder / "svd.safetensors", sv3d = folder / "sv3d.safetensors";
  test::write_text(folder / "text.png", "no picture");
  test::write_text(folder / "text.mp4", "no video");
  test::write_text(folder / "text.safetensors", "no weights at all");
  fs::create_directories(folder / "empty");
  fs::copy_file(svd, folder / "short.safetensors");
  fs::resize_file(folder / "short.safetensors", fs::file_size(svd) - 8);
  write_png(folder / "small.png", gradient(40));
  fails({"animate", folder / "nowhere.png", "--model", svd}, "nowhere.png");
  fails({"animate", folder / "text.png", "--model", svd}, "text.png");
  fails({"animate", folder / "small.png", "--model", svd, "--side", "0"}, "40×40");
  fails({"animate", folder / "photo.png", "--model", folder / "text.safetensors"}, "text.safetensors");
  fails({"animate", folder / "photo.png", "--model", folder / "short.safetensors"}, "short.safetensors");
  fails({"animate", folder / "photo.png", "--model", folder / "empty"}, "empty");
  fails({"multiview", folder / "text.mp4", "--model", sv3d}, "text.mp4");
  fails({"multiview", folder / "empty", "--model", sv3d}, "no pictures");
}

}  // namespace
}  // namespace eg4d
