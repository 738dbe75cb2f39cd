// Stage I from a picture to a dataset, with small random networks.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "backend/cpu/testing.h"
#include "core/interrupt.h"
#include "core/process.h"
#include "io/video.h"
#include "pipeline/animate.h"
#include "pipeline/multiview.h"
#include "scene/dataset.h"
#include "scene/frame_source.h"
#include "scene/input_picture.h"
#include "support/device_fixture.h"
#include "support/environment.h"
#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/places.h"
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

class StageOne : public test::OnEachDevice {
 protected:
  void SetUp() override {
    EG4D_TEST_NEEDS_VIDEO();
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
    job.options.side = 64;
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
  std::unique_ptr<Backend> backend = test::make_test_backend();
  Progress silent;
};

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

// A video that stands still then has views that stand still.
TEST_P(StageOne, ViewsOfAllFramesCanStartFromTheSameNoise) {
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

TEST_P(StageOne, AnimateContinuesToTheSameBits) {
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

TEST_P(StageOne, AMissingPictureIsMadeAgain) {
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

// Calls `act` after so many updates of the piece of work with that label.
class ActingProgress : public Progress {
 public:
  ActingProgress(std::string label, int updates, std::function<void()> act)
      : label_(std::move(label)), left_(updates), act_(std::move(act)) {}
  void begin(int64_t, const std::string& label, int64_t) override { current_ = label; }
  void update(int64_t, std::initializer_list<Figure>) override {
    if (current_ == label_ && --left_ == 0) act_();
  }

 private:
  std::string label_, current_;
  int left_;
  std::function<void()> act_;
};

// What is written beside the work fails as if it were written in between.
TEST_P(StageOne, AFullDiskIsToldAndTheRunContinues) {
  animate(*backend, animate_job("whole"), silent);
  for (const auto& [label, file] :
       {std::pair{"denoising", "latents.safetensors"}, std::pair{"decoding", ".png"}}) {
    std::optional<test::FullDisk> disk;
    ActingProgress progress(label, 1, [&] { disk.emplace(700); });
    std::string told;
    try {
      animate(*backend, animate_job("parts"), progress);
    } catch (const Error& error) {
      told = error.what();
    }
    disk.reset();
    EXPECT_TRUE(test::contains(told, "cannot write")) << told;
    EXPECT_TRUE(test::contains(told, file)) << told;
    EXPECT_TRUE(test::contains(told, "File too large")) << told;
    EXPECT_TRUE(test::contains(test::read_text(folder / "parts/video/manifest.json"), "\"finished\": false"));
  }
  animate(*backend, animate_job("parts"), silent);
  EXPECT_EQ(bytes_of(folder / "parts/video"), bytes_of(folder / "whole/video"));
}

TEST_P(StageOne, AFolderThatVanishesIsTold) {
  for (const char* label : {"denoising", "decoding"}) {
    ActingProgress progress(label, 1, [&] { fs::remove_all(folder / "run/video"); });
    EXPECT_ERROR(animate(*backend, animate_job("run"), progress), "No such file or directory");
  }
}

TEST_P(StageOne, AFailingCheckLeavesNothingBehind) {
  AnimateJob wrong = animate_job("run");
  wrong.options.sampling.rng = "foo";
  EXPECT_ERROR(animate(*backend, wrong, silent), "foo");
  EXPECT_FALSE(fs::exists(folder / "run/video"));
  EXPECT_NO_THROW(animate(*backend, animate_job("run"), silent));
}

TEST_P(StageOne, ADamagedStateIsToldWithWhatToDo) {
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

TEST_P(StageOne, MultiviewMakesADataset) {
  write_frames(3);
  const MultiviewJob job = multiview_job("run");
  const auto guarded = test::make_test_backend({.guard_memory = true});
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
  EXPECT_ERROR(multiview(*backend, wrong, silent), "side is 72: the networks take multiples of 64");
  wrong = multiview_job("wrong");
  wrong.options.interpolation_model = "rife-v2.3";
  wrong.options.interpolate_views = 2;
  EXPECT_ERROR(multiview(*backend, wrong, silent), "rife-v4");
  EXPECT_FALSE(fs::exists(folder / "wrong"));
}

TEST_P(StageOne, MultiviewCutsTheObjectOut) {
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
  job.options.matting = test::test_data() / "u2net/u2net.onnx";
  job.options.image_frame_ratio = 0.8;
  const MultiviewResult result = multiview(*backend, job, silent);
  EXPECT_EQ(result.frames, 2);
  const Picture last = read_picture(result.dataset / "000001/00000004.png");
  EXPECT_EQ(last.data, recentred_input(transparent, PictureBox::whole(transparent), 0.8, 64).data);
  EXPECT_EQ(last.data[0], 255);  // the corner is white
  EXPECT_EQ(read_picture(result.dataset / "000000/00000004.png").width, 64);
}

// An object that moves: it stays where it was in the picture, or in the middle, or moves in one box for all.
TEST_P(StageOne, MultiviewRecentresTheObjectOrTheVideo) {
  fs::create_directories(folder / "frames");
  std::vector<Picture> frames;
  for (const int left : {4, 22}) {
    Picture frame(40, 40, 4);
    for (int y = 10; y < 20; ++y)
      for (int x = left; x < left + 10; ++x) frame.data[(y * 40 + x) * 4 + 3] = 255;
    for (int pixel = 0; pixel < 40 * 40; ++pixel)
      frame.data[pixel * 4] = 90;  // wholly black ones are left out
    write_png(folder / ("frames/" + std::to_string(left) + ".png"), frame);
    frames.push_back(std::move(frame));
  }
  const PictureBox first{4, 10, 14, 20}, second{22, 10, 32, 20};
  const auto inputs = [&](const std::string& run, Recentre recentre) {
    MultiviewJob job = multiview_job(run);
    job.options.keep_bg = false;
    job.options.recentre = recentre;
    const fs::path dataset = multiview(*backend, job, silent).dataset;
    return std::array{read_picture(dataset / "000000/00000004.png").data,
                      read_picture(dataset / "000001/00000004.png").data};
  };
  const auto expected = [&](const PictureBox& a, const PictureBox& b) {
    return std::array{recentred_input(frames[0], a, {}, 64).data, recentred_input(frames[1], b, {}, 64).data};
  };
  const PictureBox whole = PictureBox::whole(frames[0]), all{4, 10, 32, 20};
  EXPECT_EQ(inputs("none", Recentre::none), expected(whole, whole));
  EXPECT_EQ(inputs("object", Recentre::object), expected(first, second));
  EXPECT_EQ(inputs("video", Recentre::video), expected(all, all));

  // A frame without the object says nothing of a box for all, and cannot be recentred by itself.
  Picture nothing(40, 40, 4);
  nothing.data[0] = 90;
  write_png(folder / "frames/30.png", nothing);
  EXPECT_EQ(inputs("video-with-nothing", Recentre::video), expected(all, all));
  EXPECT_ERROR(inputs("object-with-nothing", Recentre::object), "wholly transparent");
  Picture wider(41, 40, 4);
  wider.data[0] = 90;
  write_png(folder / "frames/31.png", wider);
  EXPECT_ERROR(inputs("sizes", Recentre::video), "41×40");
}

// A program that copies the nearer picture; tests/scene/dataset_writer_test.cpp holds the rules of the real
// one.
constexpr const char* kFakeInterpolation = R"sh(#!/bin/sh
while [ $# -gt 1 ]; do case $1 in -i) in=$2;; -o) out=$2;; -n) n=$2;; esac; shift 2; done
echo run >> "$0.runs"; k=1
set -- "$in"/*.png; count=$#
while [ $k -le $n ]; do
  at=$(((k-1)*count/n)); i=0
  for file in "$@"; do [ $i -ne $at ] || cp "$file" "$out/$(printf %06d.png $k)"; i=$((i+1)); done
  k=$((k+1))
done
)sh";

TEST_P(StageOne, InterpolationMakesDatasetsBesideThePaintedOne) {
  write_frames(2);
  const std::string program = folder / "bin/rife-ncnn-vulkan";
  fs::create_directory(folder / "bin");
  test::write_text(program, kFakeInterpolation);
  chmod(program.c_str(), 0755);
  const test::WithEnvironment path("PATH", (folder / "bin").string() + ":" + std::getenv("PATH"));
  const auto runs = [&] {
    const std::string text = fs::exists(program + ".runs") ? test::read_text(program + ".runs") : "";
    return std::count(text.begin(), text.end(), '\n');
  };
  MultiviewJob job = multiview_job("run");
  EXPECT_EQ(multiview(*backend, job, silent).dataset, folder / "run/multiviews");
  // What is painted is not painted again.
  const auto painted = fs::last_write_time(folder / "run/multiviews/transforms_train.json");
  job.options.interpolate_views = 2;
  const MultiviewResult views = multiview(*backend, job, silent);
  EXPECT_FALSE(views.already_done);
  EXPECT_EQ(views.dataset, folder / "run/multiviews_views_x2");
  EXPECT_EQ(Dataset(views.dataset).read_split("train").frames.size(), 2u * 7u);
  EXPECT_EQ(fs::last_write_time(folder / "run/multiviews/transforms_train.json"), painted);
  EXPECT_EQ(runs(), 2);
  EXPECT_TRUE(multiview(*backend, job, silent).already_done);
  EXPECT_EQ(runs(), 2);
  job.options.interpolate_times = 3;
  const MultiviewResult both = multiview(*backend, job, silent);
  EXPECT_EQ(both.dataset, folder / "run/multiviews_views_x2_times_x3");
  EXPECT_EQ(Dataset(both.dataset).read_split("train").frames.size(), 4u * 7u);
  EXPECT_EQ(runs(), 2 + 8);
  // Another orbit is another dataset.
  job.options.interpolation_orbit = OrbitEnd::open;
  EXPECT_ERROR(multiview(*backend, job, silent), "interpolation.orbit is \"open\"");
}

TEST_P(StageOne, ThePresetFollowsTheModel) {
  fs::create_directories(folder / "models/mini");
  fs::copy_file(folder / "svd.safetensors", folder / "models/mini/svd_mini.safetensors");
  fs::copy_file(folder / "sv3d.safetensors", folder / "models/mini/sv3d_mini.safetensors");
  fs::copy_file(folder / "svd.safetensors", folder / "models/svd_xt_1_1.safetensors");
  const std::string photo = folder / "photo.png", models = folder / "models", run = folder / "run";
  const auto animated = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"animate", photo,    "-o", run,          "--models-folder",
                                      models,    "--side", "64", "--overwrite"};
    words.insert(words.end(), more.begin(), more.end());
    const auto result = test::run_program(words);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return nlohmann::json::parse(test::read_text(folder / "run/video/manifest.json"));
  };
  // svd's own 14 frames; what is typed wins.
  auto manifest = animated({"--model", folder / "svd.safetensors", "--sampler.steps", "1"});
  EXPECT_EQ(manifest["options"]["frames"], 14);
  EXPECT_EQ(manifest["options"]["guidance"]["max"], 2.5);
  EXPECT_EQ(manifest["options"]["sampler"]["steps"], 1);
  manifest = animated({"--sampler.steps", "1", "--frames", "2"});
  EXPECT_EQ(manifest["options"]["guidance"]["max"], 3.0);
  EXPECT_TRUE(test::contains(manifest["model"], "svd_xt_1_1.safetensors"));
  // The mini models come with their preset, and the other way round.
  manifest = animated({"--model", "svd_mini", "--frames", "2"});
  EXPECT_EQ(manifest["options"]["sampler"]["steps"], 8);
  EXPECT_EQ(manifest["options"]["rounding"], "nearest");
  manifest = animated({"--preset", "mini", "--frames", "2"});
  EXPECT_TRUE(test::contains(manifest["model"], "svd_mini.safetensors"));
  const auto painted = test::run_program({"multiview", run, "--models-folder", models, "--side", "64",
                                          "--preset", "mini", "--views", "2", "--sampler.steps", "1"});
  EXPECT_EQ(painted.exit_code, 0) << painted.errors;
  const auto named =
      test::run_program({"multiview", run, "-o", folder / "named", "--models-folder", models, "--side", "64",
                         "--model", "sv3d_mini", "--views", "2", "--sampler.steps", "1"});
  EXPECT_EQ(named.exit_code, 0) << named.errors;
  EXPECT_TRUE(test::contains(named.errors, "preset mini, which sv3d_mini is for")) << named.errors;
}

// Before any weights are looked for.
TEST_P(StageOne, SidesThatNoNetworkTakesAreRefusedAtOnce) {
  write_frames(1);
  const auto refused = [&](std::vector<std::string> words, const std::string& part) {
    words.insert(words.end(), {"-o", folder / "out", "--models-folder", folder / "none"});
    const auto result = test::run_program(words);
    EXPECT_EQ(result.exit_code, 2) << result.errors;
    EXPECT_TRUE(test::contains(result.errors, part)) << result.errors;
    EXPECT_FALSE(fs::exists(folder / "out"));
  };
  const std::string photo = folder / "photo.png", frames = folder / "frames";
  refused(
      {"animate", photo, "--side", "100"},
      "side is 100: the networks take multiples of 64 pixels, such as 64 or 128; 0 keeps the picture's size");
  refused({"animate", photo, "--side", "8"}, "such as 64; 0 keeps");
  refused({"multiview", frames, "--side", "100"}, "side is 100");
}

TEST_P(StageOne, MultiviewContinuesToTheSameBits) {
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

TEST_P(StageOne, InjectionChangesLaterFramesOnly) {
  write_frames(2);
  multiview(*backend, multiview_job("with"), silent);
  MultiviewJob without = multiview_job("without");
  without.options.injection = false;
  multiview(*backend, without, silent);
  EXPECT_EQ(bytes_of(folder / "with/multiviews/000000"), bytes_of(folder / "without/multiviews/000000"));
  EXPECT_NE(bytes_of(folder / "with/multiviews/000001"), bytes_of(folder / "without/multiviews/000001"));
}

// Step-major order: what is kept for the injection does not grow with the steps.
TEST_P(StageOne, MemoryIsIndependentOfTheSteps) {
  write_frames(3);
  size_t peaks[2];
  for (int i = 0; i < 2; ++i) {
    const auto fresh = test::make_test_backend();
    MultiviewJob job = multiview_job("run" + std::to_string(i));
    job.options.views = 2;
    job.options.sampling.schedule.steps = i == 0 ? 2 : 20;
    multiview(*fresh, job, silent);
    peaks[i] = cpu::peak_allocated_bytes(*fresh);
  }
  EXPECT_NEAR(static_cast<double>(peaks[1]) / static_cast<double>(peaks[0]), 1, 0.01);
}

using StageOneOnCpu = StageOne;

TEST_F(StageOneOnCpu, FromAPictureToAModelOnTheCommandLine) {
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
TEST_F(StageOneOnCpu, KilledRunsContinueToTheSameBits) {
  std::vector<std::string> arguments = {
      "animate", folder / "photo.png", "--model", folder / "svd.safetensors", "--side",
      "64",      "--frames",           "3",       "--sampler.steps",          "12",
      "-o"};
  auto whole = arguments;
  whole.push_back(folder / "whole");
  ASSERT_EQ(test::run_program(whole).exit_code, 0);
  std::vector<std::string> killed = {"-s", "KILL", "0", test::eg4d_program()};
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

TEST_F(StageOneOnCpu, BadInputIsOneSentence) {
  const auto fails = [&](std::vector<std::string> arguments, const std::string& part) {
    arguments.insert(arguments.end(), {"-o", folder / "out"});
    const auto result = test::run_program(arguments);
    EXPECT_EQ(result.exit_code, 1) << result.errors;
    EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
    EXPECT_TRUE(test::contains(result.errors, part)) << result.errors;
    EXPECT_FALSE(fs::exists(folder / "out/video/manifest.json"));
  };
  const std::string svd = folder / "some.safetensors", sv3d = folder / "sv3d.safetensors";
  fs::copy_file(folder / "svd.safetensors", svd);
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

EG4D_ON_EACH_DEVICE(StageOne);

}  // namespace
}  // namespace eg4d
