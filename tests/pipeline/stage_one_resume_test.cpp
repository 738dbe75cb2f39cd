// Stage I interrupted, killed, without room on the disk, and continued.

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/interrupt.h"
#include "core/process.h"
#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/run_program.h"
#include "support/stage_one_fixture.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using test::StageOne;

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

// With a step cache whole groups of steps are kept, so that every run begins with a whole step.
TEST_P(StageOne, WithAStepCacheItContinuesToTheSameBits) {
  const auto cached_job = [&](const std::string& run) {
    AnimateJob job = animate_job(run);
    job.options.sampling.cache = {.interval = 2, .depth = 1};
    return job;
  };
  animate(*backend, animate_job("exact"), silent);
  animate(*backend, cached_job("whole"), silent);
  EXPECT_NE(bytes_of(folder / "whole/video"), bytes_of(folder / "exact/video"));
  for (const int updates :
       {4, 2}) {  // of four steps: in the last one, then between steps that belong together
    StoppingProgress stopping("denoising", updates);
    EXPECT_THROW(animate(*backend, cached_job("parts"), stopping), Interrupted);
    clear_interrupt();
  }
  animate(*backend, cached_job("parts"), silent);
  EXPECT_EQ(bytes_of(folder / "parts/video"), bytes_of(folder / "whole/video"));

  write_frames(2);
  const auto cached_views = [&](const std::string& run) {
    MultiviewJob job = multiview_job(run);
    job.options.sampling.cache = {.interval = 2, .depth = 1};
    return job;
  };
  multiview(*backend, cached_views("whole"), silent);
  for (const int updates : {2, 6}) {  // of three steps of two videos
    StoppingProgress stopping("denoising", updates);
    EXPECT_THROW(multiview(*backend, cached_views("parts"), stopping), Interrupted);
    clear_interrupt();
  }
  multiview(*backend, cached_views("parts"), silent);
  for (const std::string time : {"000000", "000001"})
    EXPECT_EQ(bytes_of(folder / ("parts/multiviews/" + time)),
              bytes_of(folder / ("whole/multiviews/" + time)));
}

// The noise between the steps of few-step sampling is the run's own, wherever it continues.
TEST_P(StageOne, FewStepSamplingContinuesToTheSameBits) {
  for (const char* rng : {"philox", "torch-cpu"}) {
    const auto job = [&](const std::string& run) {
      AnimateJob few = animate_job(run + rng);
      few.options.sampling.schedule.method = SamplingMethod::lcm;
      few.options.sampling.guidance_min = few.options.sampling.guidance_max = 1;
      few.options.sampling.rng = rng;
      return few;
    };
    animate(*backend, job("whole"), silent);
    StoppingProgress in_third_step("denoising", 5);
    EXPECT_THROW(animate(*backend, job("parts"), in_third_step), Interrupted);
    clear_interrupt();
    animate(*backend, job("parts"), silent);
    EXPECT_EQ(bytes_of(folder / ("parts" + std::string(rng)) / "video"),
              bytes_of(folder / ("whole" + std::string(rng)) / "video"));
  }
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

TEST_P(StageOne, ADamagedStateIsToldWithWhatToDo) {
  StoppingProgress in_second_step("denoising", 2);
  EXPECT_ERROR(animate(*backend, animate_job("run"), in_second_step), "stopped; ");
  clear_interrupt();
  for (const char* name : {"run/video/latents.safetensors", "run/video/conditions.safetensors"}) {
    std::string state = test::read_text(folder / name);
    const std::string whole = state;
    state[state.size() - 5] = static_cast<char>(state[state.size() - 5] ^ 1);
    test::write_text(folder / name, state);
    EXPECT_ERROR(animate(*backend, animate_job("run"), silent), "is damaged: delete it");
    test::write_text(folder / name, whole);
  }
  animate(*backend, animate_job("run"), silent);
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
    ActingProgress progress(label, 1, [&] {
      std::error_code error;  // files are written beside this
      do fs::remove_all(folder / "run/video", error);
      while (error);
    });
    EXPECT_ERROR(animate(*backend, animate_job("run"), progress), "No such file or directory");
  }
}

using StageOneOnCpu = StageOne;

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

}  // namespace
}  // namespace eg4d
