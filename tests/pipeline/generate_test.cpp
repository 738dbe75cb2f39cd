// `eg4d generate` with small random networks: from a picture to the report.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "io/file_lock.h"
#include "io/image.h"
#include "support/expect_error.h"
#include "support/places.h"
#include "support/run_program.h"
#include "support/temporary_folder.h"
#include "support/tiny_image_model.h"
#include "support/tiny_video_model.h"

namespace eg4d::test {
namespace {

namespace fs = std::filesystem;

class Generate : public testing::Test {
 protected:
  void SetUp() override { EG4D_TEST_NEEDS_VIDEO(); }
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryFolder>();
    fs::create_directories(*folder_ / "models/mini");
    write_tiny_model(TinyModel::svd, *folder_ / "models/mini/svd_mini.safetensors");
    write_tiny_model(TinyModel::sv3d_p, *folder_ / "models/mini/sv3d_mini.safetensors");
    write_tiny_image_model(*folder_ / "models/mini/sdxl_mini");
    Picture picture(40, 40, 3);
    for (size_t i = 0; i < picture.data.size(); ++i) picture.data[i] = static_cast<uint8_t>(i * 7 % 251);
    write_png(*folder_ / "photo.png", picture);
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::vector<std::string> command(const std::vector<std::string>& pictures, const std::string& output,
                                          const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"generate"};
    words.insert(words.end(), pictures.begin(), pictures.end());
    const std::string models = *folder_ / "models";
    words.insert(words.end(), {"-o", output, "--models-folder", models, "--preset", "mini"});
    for (const char* setting :
         {"animate.side=64", "animate.frames=3", "animate.sampler.steps=2", "multiview.side=64",
          "multiview.views=5", "multiview.sampler.steps=2", "reconstruct.start.points=random",
          "reconstruct.start.count=50", "reconstruct.hexplane.channels=4",
          "reconstruct.schedule.coarse_iterations=10", "reconstruct.schedule.fine_iterations=20",
          "reconstruct.schedule.evaluate_interval=10", "reconstruct.checkpoint.interval=5",
          "refine.iterations=12", "refine.checkpoint.seconds=0.1", "orbit.frames=4"})
      words.insert(words.end(), {"--set", setting});
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static std::string photo() { return *folder_ / "photo.png"; }

  // What must not depend on interruptions.
  static std::string outcome(const fs::path& run) {
    std::string all;
    for (const char* file : {"coarse/model.safetensors", "refined/model.safetensors", "object.ply"})
      all += read_text(run / file);
    return all;
  }

  static std::unique_ptr<TemporaryFolder> folder_;
};

std::unique_ptr<TemporaryFolder> Generate::folder_;

// Not after hours of the stages before.
TEST_F(Generate, WhatALaterStageCannotDoIsSaidAtOnce) {
  const auto refused = [&](const std::string& setting, const std::string& part) {
    const ProgramResult result = run_program(command({photo()}, *folder_ / "refused", {"--set", setting}));
    EXPECT_EQ(result.exit_code, 2) << result.errors;
    EXPECT_TRUE(contains(result.errors, part)) << result.errors;
    EXPECT_FALSE(fs::exists(*folder_ / "refused"));
  };
  refused("multiview.side=100", "multiview.side is 100: the networks take multiples of 64 pixels");
  refused("animate.side=100", "animate.side is 100");
  refused("refine.diffusion.steps=5", "leaves none of 5 denoising steps");
}

TEST_F(Generate, FromAPictureToTheReport) {
  const fs::path run = *folder_ / "run";
  const ProgramResult result = run_program(command({photo()}, run));
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  for (const char* file : {"video.mp4", "multiviews/transforms_train.json", "coarse/metrics.json",
                           "refined/model.safetensors", "orbit.mp4", "object.ply", "grid.png", "report.html"})
    EXPECT_TRUE(fs::exists(run / file)) << file;
  const std::string report = read_text(run / "report.html");
  for (const char* part : {"data:video/mp4;base64,", "data:image/png;base64,", "<svg", "mini models",
                           "reconstruct", "Apache-2.0", "fine_iterations = 20"})
    EXPECT_TRUE(contains(report, part)) << part;
  EXPECT_FALSE(contains(report, "http")) << "opens offline";
  EXPECT_TRUE(contains(result.errors, "preset mini: as asked")) << result.errors;
  EXPECT_TRUE(contains(result.errors, "warning: '" + photo() + "' has a background")) << result.errors;
  EXPECT_EQ(result.errors.find("warning"), result.errors.rfind("warning")) << result.errors;

  const std::string note = "without weights for matting";
  EXPECT_EQ(result.errors.find(note), result.errors.rfind(note)) << "said once";
  EXPECT_TRUE(contains(result.errors, note)) << result.errors;
  EXPECT_TRUE(contains(report, "Without weights for matting"));
  EXPECT_TRUE(contains(report, "This picture has a background"));

  // Once more: nothing is computed again.
  const auto before = fs::last_write_time(run / "refined/model.safetensors");
  EXPECT_EQ(run_program(command({photo()}, run)).exit_code, 0);
  EXPECT_EQ(fs::last_write_time(run / "refined/model.safetensors"), before);
  // A picture that was deleted is made again, and fits what was made from it.
  const std::string before_repair = outcome(run);
  fs::remove(run / "multiviews/000001/00000003.png");
  fs::remove(run / "video/frame_001.png");
  const ProgramResult repaired = run_program(command({photo()}, run));
  EXPECT_EQ(repaired.exit_code, 0) << repaired.errors;
  EXPECT_TRUE(contains(repaired.errors, "they are made again")) << repaired.errors;
  EXPECT_TRUE(fs::exists(run / "multiviews/000001/00000003.png"));
  EXPECT_EQ(outcome(run), before_repair);
  // Other settings are not mixed with these results.
  const ProgramResult other = run_program(command({photo()}, run, {"--animate.seed", "5"}));
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_TRUE(contains(other.errors, "seed is 5, it was")) << other.errors;
  const ProgramResult refined = run_program(command({photo()}, run, {"--refine.iterations", "13"}));
  EXPECT_EQ(refined.exit_code, 1);
  EXPECT_TRUE(contains(refined.errors, "iterations is 13, it was 12")) << refined.errors;
}

TEST_F(Generate, AVideoIsTakenInThePlaceOfStageOneA) {
  const fs::path clip = *folder_ / "clip", run = *folder_ / "of-video";
  fs::create_directories(clip);
  for (int i = 0; i < 7; ++i) {
    Picture frame(64, 64, 3);
    std::fill(frame.data.begin(), frame.data.end(), static_cast<uint8_t>(20 + 30 * i));
    write_png(clip / ("frame_" + std::to_string(i) + ".png"), frame);
  }
  const ProgramResult result = run_program(command({}, run, {"--video", clip}));
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const auto grey = [&](const char* frame) { return read_picture(run / "video" / frame).data[0]; };
  EXPECT_EQ(grey("frame_000.png"), 20);
  EXPECT_EQ(grey("frame_001.png"), 110);
  EXPECT_EQ(grey("frame_002.png"), 200);
  EXPECT_FALSE(fs::exists(run / "video/frame_003.png")) << "animate.frames is 3";
  EXPECT_TRUE(contains(read_text(run / "report.html"), "the input's first frame"));
  EXPECT_TRUE(fs::exists(run / "video.mp4") && fs::exists(run / "object.ply"));
  const auto before = fs::last_write_time(run / "refined/model.safetensors");
  EXPECT_EQ(run_program(command({}, run, {"--video", clip})).exit_code, 0);
  EXPECT_EQ(fs::last_write_time(run / "refined/model.safetensors"), before) << "nothing is computed again";
  fs::remove(clip / "frame_6.png");
  const ProgramResult other = run_program(command({}, run, {"--video", clip}));
  EXPECT_EQ(other.exit_code, 1) << "another video";
  EXPECT_TRUE(contains(other.errors, "--overwrite")) << other.errors;

  const std::string output = *folder_ / "none";
  EXPECT_EQ(run_program(command({photo()}, output, {"--video", clip})).exit_code, 2) << "one of them";
  EXPECT_EQ(run_program(command({}, output)).exit_code, 2);
}

// As in a bundle.
class GenerateWithoutVideos : public Generate {
 protected:
  void SetUp() override {}
};

TEST_F(GenerateWithoutVideos, MakesAllTheRest) {
  const fs::path run = *folder_ / "run";
  const std::string no_libraries = "EG4D_LIBRARY_DIR=" + (*folder_ / "no_libraries").string();
  const ProgramResult result = run_program(command({photo()}, run), {no_libraries});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const std::string warning = "needs libeg4d_video.so";
  EXPECT_TRUE(contains(result.errors, warning)) << result.errors;
  EXPECT_EQ(result.errors.find(warning), result.errors.rfind(warning)) << "said once";
  EXPECT_TRUE(contains(result.errors, "videos are left out")) << result.errors;
  for (const char* file : {"multiviews/transforms_train.json", "refined/model.safetensors",
                           "orbit/frame_0003.png", "object.ply", "grid.png", "report.html"})
    EXPECT_TRUE(fs::exists(run / file)) << file;
  EXPECT_FALSE(fs::exists(run / "video.mp4"));
  EXPECT_FALSE(contains(read_text(run / "report.html"), "<video"));
  // Once more: nothing is computed again.
  const auto before = fs::last_write_time(run / "refined/model.safetensors");
  EXPECT_EQ(run_program(command({photo()}, run), {no_libraries}).exit_code, 0);
  EXPECT_EQ(fs::last_write_time(run / "refined/model.safetensors"), before);
}

// Hours may lie between the first stage and the one whose settings are found to be others.
TEST_F(Generate, EverySettingIsCheckedBeforeAnythingIsMade) {
  const fs::path run = *folder_ / "checked";
  ASSERT_EQ(run_program(command({photo()}, run)).exit_code, 0);
  const auto refuses = [&](const std::vector<std::string>& more, const std::string& part) {
    const ProgramResult result = run_program(command({photo()}, run, more));
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_TRUE(contains(result.errors, part)) << result.errors;
    EXPECT_TRUE(contains(result.errors, "--overwrite")) << result.errors;
    EXPECT_FALSE(fs::exists(run / "video")) << "something was made";
  };
  fs::remove_all(run / "video");
  refuses({"--multiview.elevation", "10"}, "elevation is 10");
  refuses({"--refine.iterations", "13"}, "iterations is 13");
  refuses({"--reconstruct.loss.dssim", "0.2"}, "coarse");
  fs::remove_all(run / "multiviews");
  refuses({}, "a reconstruction of another dataset");
  // A run of another command.
  const fs::path foreign = *folder_ / "foreign";
  fs::create_directories(foreign / "coarse");
  fs::copy_file(run / "coarse/manifest.json", foreign / "coarse/manifest.json");
  const ProgramResult result = run_program(command({photo()}, foreign));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(contains(result.errors, "'" + foreign.string() + "' holds a reconstruction")) << result.errors;
  EXPECT_FALSE(fs::exists(foreign / "video"));
}

TEST_F(Generate, OverwriteMakesAnewWhatIsOfOtherSettingsAndKeepsTheRest) {
  const fs::path run = *folder_ / "overwritten", fresh = *folder_ / "fresh";
  ASSERT_EQ(run_program(command({photo()}, run)).exit_code, 0);
  const auto video = fs::last_write_time(run / "video/frame_000.png");
  const auto views = fs::last_write_time(run / "multiviews/transforms_train.json");
  const auto coarse = fs::last_write_time(run / "coarse/model.safetensors");
  const std::vector<std::string> other = {"--multiview.elevation", "10", "--overwrite"};
  const ProgramResult result = run_program(command({photo()}, run, other));
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(fs::last_write_time(run / "video/frame_000.png"), video);
  EXPECT_NE(fs::last_write_time(run / "multiviews/transforms_train.json"), views);
  EXPECT_NE(fs::last_write_time(run / "coarse/model.safetensors"), coarse);
  ASSERT_EQ(run_program(command({photo()}, fresh, {"--multiview.elevation", "10"})).exit_code, 0);
  EXPECT_EQ(outcome(run), outcome(fresh));
}

TEST_F(Generate, OneSeedServesAllStagesThatHaveNoneOfTheirOwn) {
  const fs::path run = *folder_ / "seeded";
  ASSERT_EQ(run_program(command({photo()}, run, {"--seed", "5", "--refine.seed", "6"})).exit_code, 0);
  const auto seed = [&](const char* stage) {
    return nlohmann::json::parse(read_text(run / stage / "manifest.json"))["options"]["seed"];
  };
  EXPECT_EQ(seed("video"), 5);
  EXPECT_EQ(seed("multiviews"), 5);
  EXPECT_EQ(seed("refined"), 6);
  const ProgramResult wrong = run_program(command({photo()}, run, {"--seed", "red"}));
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_TRUE(contains(wrong.errors, "--seed: ")) << wrong.errors;
}

TEST_F(Generate, OneProcessAtATime) {
  const fs::path run = *folder_ / "shared";
  const std::vector<std::string> less = {"--set", "refinement=false"};
  {
    fs::create_directories(run);
    const FileLock other(FileLock::of_folder(run), "the run");
    const ProgramResult second = run_program(command({photo()}, run, less));
    EXPECT_EQ(second.exit_code, 1);
    EXPECT_TRUE(contains(second.errors, "shared' is in use by another process (pid")) << second.errors;
  }
  EXPECT_EQ(run_program(command({photo()}, run, less)).exit_code, 0);
}

TEST_F(Generate, SeveralPicturesShareTheWeights) {
  const fs::path pictures = *folder_ / "pictures", runs = *folder_ / "runs";
  fs::create_directories(pictures);
  fs::copy_file(photo(), pictures / "a.png");
  fs::copy_file(photo(), pictures / "b.png");
  const ProgramResult result = run_program(command({pictures}, runs, {"--set", "refinement=false"}));
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(read_text(runs / "a/coarse/model.safetensors"), read_text(runs / "b/coarse/model.safetensors"));
  EXPECT_TRUE(fs::exists(runs / "b/report.html"));
  EXPECT_FALSE(fs::exists(runs / "b/refined"));
}

// kill -9 at random moments.
TEST_F(Generate, KilledRunsContinueToTheSameBits) {
  const fs::path whole = *folder_ / "whole", killed = *folder_ / "killed";
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(run_program(command({photo()}, whole)).exit_code, 0);
  const std::chrono::duration<double> whole_time = std::chrono::steady_clock::now() - start;
  std::mt19937 random(1);
  int kills = 0;
  // Each attempt may take up to a fifth of the whole, later ones more: progress is kept between them.
  for (int attempt = 0; attempt < 60; ++attempt) {
    const double share = std::uniform_real_distribution<>(0.05, 0.2 + 0.02 * attempt)(random);
    RunningProgram program(command({photo()}, killed));
    std::this_thread::sleep_for(whole_time * share);
    program.signal(SIGKILL);
    const ProgramResult result = program.wait();
    if (result.exit_code == 0) break;
    ASSERT_EQ(result.exit_code, 128 + SIGKILL) << result.errors;
    ++kills;
  }
  EXPECT_GT(kills, 0);
  EXPECT_EQ(run_program(command({photo()}, killed)).exit_code, 0);
  EXPECT_EQ(outcome(killed), outcome(whole));
}

// Ctrl-C in the middle: what was spent until then counts.
TEST_F(Generate, TimesOfStoppedCallsAreKept) {
  const fs::path run = *folder_ / "stopped";
  RunningProgram program(command({photo()}, run, {"--set", "multiview.sampler.steps=200"}));
  const auto multiview_runs = [&] { return fs::exists(run / "multiviews/latents.safetensors"); };
  for (int i = 0; i < 600 && !multiview_runs(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  program.signal(SIGINT);
  EXPECT_EQ(program.wait().exit_code, 130);
  const auto times = nlohmann::json::parse(read_text(run / "generate.json"));
  EXPECT_GT(times["animate"]["seconds"], 0);
  EXPECT_GT(times["multiview"]["seconds"], 0);
}

TEST_F(Generate, SaysWhatIsWrong) {
  const auto fails = [&](const std::vector<std::string>& arguments, int code, const std::string& part) {
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.exit_code, code) << result.errors;
    EXPECT_TRUE(contains(result.errors, part)) << result.errors;
  };
  const std::string out = *folder_ / "out";
  fails({"generate", photo()}, 2, "-o");
  fails({"generate", "-o", out}, 2, "PICTURE");
  fails({"generate", *folder_ / "nowhere.png", "-o", out}, 1, "nowhere.png");
  fails(command({photo(), photo()}, out), 2, "would share the run folder");
  fails({"generate", photo(), "-o", out, "--preset", "paper", "--models-folder", *folder_ / "models"}, 1,
        "\"eg4d models fetch svd_xt_1_1 sv3d_p sdxl_turbo\" gets them");
}

}  // namespace
}  // namespace eg4d::test
