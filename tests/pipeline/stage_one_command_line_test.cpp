// Stage I as the program does it.

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/image.h"
#include "support/expect_error.h"
#include "support/run_program.h"
#include "support/stage_one_fixture.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using test::gradient;
using test::StageOne;

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

// Another UNet, few steps, a cache: what is typed is what is done, and told in the manifest.
TEST_P(StageOne, WhatIsFasterThanExactIsAskedFor) {
  const std::string svd = folder / "svd.safetensors";
  fs::copy_file(svd, folder / "distilled.safetensors");
  const auto animated = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {
        "animate", folder / "photo.png", "-o", folder / "run", "--model", svd, "--side",
        "64",      "--frames",           "2",  "--overwrite"};
    words.insert(words.end(), more.begin(), more.end());
    return test::run_program(words);
  };
  const auto manifest = [&] {
    return nlohmann::json::parse(test::read_text(folder / "run/video/manifest.json"));
  };
  auto result =
      animated({"--unet", folder / "distilled.safetensors", "--preset", "lcm", "--guidance.max", "1.2"});
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(manifest()["options"]["sampler"]["method"], "lcm");
  EXPECT_EQ(manifest()["options"]["sampler"]["steps"], 4);
  EXPECT_TRUE(test::contains(manifest()["model"], "distilled.safetensors"));
  result = animated({"--cache", "2", "--sampler.steps", "3"});
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(manifest()["options"]["cache"], 2);

  const auto refused = [&](const std::vector<std::string>& more, const std::string& part) {
    const auto refusal = animated(more);
    EXPECT_NE(refusal.exit_code, 0);
    EXPECT_TRUE(test::contains(refusal.errors, part)) << refusal.errors;
  };
  refused({"--sampler.method", "lcm", "--sampler.steps", "41"}, "at most 40 steps");
  refused({"--unet", folder / "nowhere.safetensors"}, "nowhere.safetensors");
  refused({"--unet", folder / "sv3d.safetensors"}, "is the UNet of another model");
  refused({"--cache", "2", "--cache-depth", "100"}, "its depth must be smaller");
  refused({"--device", "cpu", "--feed-forward", "fp8"}, "compute capability 8.9");
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

}  // namespace
}  // namespace eg4d
