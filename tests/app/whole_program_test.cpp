// The program from a dataset to every output, as a person uses it.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "support/expect_error.h"
#include "support/places.h"
#include "support/run_program.h"
#include "support/temporary_folder.h"
#include "support/tiny_scene.h"

namespace eg4d::test {
namespace {

class WholeProgram : public testing::Test {
 protected:
  WholeProgram() { write_tiny_dataset(dataset_, 4, 3, 24, 20); }

  std::vector<std::string> reconstruct(int fine_iterations, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"reconstruct",
                                          dataset_,
                                          "-o",
                                          run_,
                                          "--schedule.coarse-iterations",
                                          "20",
                                          "--schedule.fine-iterations",
                                          std::to_string(fine_iterations),
                                          "--hexplane.channels",
                                          "4",
                                          "--hexplane.resolution",
                                          "8",
                                          "--hexplane.levels",
                                          "1,2",
                                          "--deformation.width",
                                          "8",
                                          "--start.count",
                                          "50"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  ProgramResult run(const std::vector<std::string>& arguments) const {
    ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return result;
  }

  TemporaryFolder folder_;
  const std::string dataset_ = folder_ / "dataset", run_ = folder_ / "run";
};

TEST_F(WholeProgram, FromADatasetToEveryOutput) {
  EG4D_TEST_NEEDS_VIDEO();
  run(reconstruct(30));
  EXPECT_TRUE(contains(run(reconstruct(30)).errors, "was finished before"));
  EXPECT_EQ(run_program(reconstruct(31)).exit_code, 1) << "other settings in the same folder";

  run({"render", run_, "-o", folder_ / "orbit.mp4", "--frames", "4"});
  EXPECT_GT(std::filesystem::file_size(folder_ / "orbit.mp4"), 100u);
  run({"render", run_, "-o", folder_ / "beside", "--split", "test", "--truth"});
  run({"export", run_, "-o", folder_ / "object.ply", "--time", "1"});

  const ProgramResult table =
      run({"evaluate", run_, "--json", folder_ / "test.json", "--views", "--which", "last"});
  EXPECT_TRUE(contains(table.output, "mean of 3 (test)")) << table.output;
  const auto figures = nlohmann::json::parse(read_text(folder_ / "test.json"));
  EXPECT_EQ(figures["iterations"], 50);
  EXPECT_EQ(figures["per_view"].size(), 3u);
  const auto metrics = nlohmann::json::parse(read_text(run_ + "/coarse/metrics.json"));
  EXPECT_NEAR(figures["psnr"].get<double>(), metrics["splits"]["test"]["psnr"].get<double>(), 1e-9);
  EXPECT_NEAR(figures["ssim"].get<double>(), metrics["splits"]["test"]["ssim"].get<double>(), 1e-9);

  // Without --which it is the best one, in every command.
  const ProgramResult best = run({"evaluate", run_, "--json", folder_ / "best.json"});
  EXPECT_TRUE(contains(best.output, "best.safetensors")) << best.output;
  EXPECT_NEAR(nlohmann::json::parse(read_text(folder_ / "best.json"))["psnr"].get<double>(),
              metrics["best"]["psnr"].get<double>(), 1e-9);
  run({"render", run_, "-o", folder_ / "own.mp4", "--frames", "2", "--color-time", "own"});
  run({"export", run_, "-o", folder_ / "half.ply", "--color-time", "0.5", "--which", "best"});
  EXPECT_EQ(run_program({"evaluate", run_, "--color-time", "2"}).exit_code, 2);
  EXPECT_EQ(
      run_program({"export", run_, "-o", folder_ / "python", "--format", "python", "--color-time", "own"})
          .exit_code,
      2);

  const auto info = nlohmann::json::parse(run({"info", run_, "--json"}).output);
  EXPECT_EQ(info["model"], "coarse/best.safetensors");
  EXPECT_EQ(info["coarse"]["iterations"], 50);
  EXPECT_EQ(nlohmann::json::parse(run({"info", folder_ / "object.ply", "--json"}).output)["vertices"],
            info["coarse"]["gaussians"]);

  // A file of Gaussians is a model like any other.
  const ProgramResult small = run({"export", folder_ / "object.ply", "-o", folder_ / "object.spz"});
  EXPECT_TRUE(contains(small.errors, " dB from the model")) << small.errors;
  EXPECT_EQ(nlohmann::json::parse(run({"info", folder_ / "object.spz", "--json"}).output)["gaussians"],
            info["coarse"]["gaussians"]);
  run({"render", folder_ / "object.spz", "-o", folder_ / "still", "--frames", "1"});
  EXPECT_EQ(run_program({"render", run_, "-o", folder_ / "still", "--model-up", "y"}).exit_code, 2);
}

TEST_F(WholeProgram, CtrlCStopsWithACheckpointAndTheSameCommandContinues) {
  const std::string checkpoint = run_ + "/coarse/checkpoint.safetensors";
  // More iterations than the time until the signal allows.
  const auto arguments = reconstruct(1000000, {"--checkpoint.interval", "10"});
  const auto expect_clean_stop = [&](RunningProgram& program, int signal_number) {
    program.signal(signal_number);
    const ProgramResult stopped = program.wait();
    EXPECT_EQ(stopped.exit_code, 130) << stopped.errors;
    EXPECT_TRUE(contains(stopped.errors, "the same command continues from there")) << stopped.errors;
    EXPECT_TRUE(std::filesystem::exists(checkpoint));
  };
  RunningProgram first(arguments);
  while (!std::filesystem::exists(checkpoint)) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  expect_clean_stop(first, SIGINT);
  RunningProgram second(arguments);
  while (!contains(second.errors_so_far(), "continuing from iteration")) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  expect_clean_stop(second, SIGTERM);
  EXPECT_TRUE(contains(run({"info", run_}).output, "not finished"));
}

// kill -9 at any moment, continued with another number of threads.
TEST_F(WholeProgram, KilledRunsContinueToTheSameBits) {
  const std::vector<std::string> settings = {"--checkpoint.interval", "7", "--schedule.evaluate-interval",
                                             "25"};
  const auto models = [&] {
    return read_text(run_ + "/coarse/model.safetensors") + read_text(run_ + "/coarse/best.safetensors");
  };
  run(reconstruct(400, settings));
  const std::string whole = models();
  std::filesystem::remove_all(run_);

  int kills = 0, threads = 1;
  for (auto patience = std::chrono::milliseconds(60);; patience += patience / 3) {
    auto arguments = reconstruct(400, settings);
    arguments.insert(arguments.end(), {"--threads", std::to_string(threads)});
    threads = threads % 3 + 1;
    RunningProgram program(arguments);
    std::this_thread::sleep_for(patience);
    program.signal(SIGKILL);
    const ProgramResult result = program.wait();
    if (result.exit_code == 0) break;
    ASSERT_EQ(result.exit_code, 128 + SIGKILL) << result.errors;
    ++kills;
  }
  EXPECT_GT(kills, 0);
  EXPECT_EQ(models(), whole);
}

TEST_F(WholeProgram, TwoProcessesDoNotTrainInOneFolder) {
  const auto arguments = reconstruct(1000000, {"--checkpoint.interval", "10"});
  RunningProgram first(arguments);
  while (!std::filesystem::exists(run_ + "/coarse/checkpoint.safetensors"))
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const ProgramResult second = run_program(arguments);
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_TRUE(contains(second.errors, "coarse' is in use by another process (pid")) << second.errors;
  first.signal(SIGKILL);
  first.wait();
  EXPECT_TRUE(std::filesystem::exists(run_ + "/coarse/.lock"));
  RunningProgram third(arguments);
  while (!contains(third.errors_so_far(), "continuing from iteration"))
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

// Signals at any moment, each sent twice as `timeout` does it. The network is wide enough for the generated
// matrix products that no signal handler may interrupt (core/interrupt.h); scripts/stress_interrupts.sh does
// more of it.
TEST_F(WholeProgram, InterruptedRunsContinueToTheSameBits) {
  const std::vector<std::string> settings = {"--deformation.width", "96"};
  run(reconstruct(300, settings));
  const std::string whole = read_text(run_ + "/coarse/model.safetensors");
  std::filesystem::remove_all(run_);

  constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
  int stops = 0;
  for (auto patience = std::chrono::milliseconds(60);; patience += patience / 4) {
    auto arguments = reconstruct(300, settings);
    arguments.insert(arguments.end(), {"--threads", std::to_string(stops % 3 + 1)});
    RunningProgram program(arguments);
    std::this_thread::sleep_for(patience);
    program.signal(kSignals[stops % 3]);
    program.signal(kSignals[stops % 3]);
    const ProgramResult result = program.wait();
    if (result.exit_code == 0) break;
    // The first signals may come before the program takes them.
    const bool early = patience < std::chrono::seconds(1) && result.exit_code == 128 + kSignals[stops % 3];
    ASSERT_TRUE(result.exit_code == 130 || early) << result.exit_code << ": " << result.errors;
    ++stops;
  }
  EXPECT_GT(stops, 0);
  EXPECT_EQ(read_text(run_ + "/coarse/model.safetensors"), whole);
}

TEST_F(WholeProgram, ATraceTellsEveryOperation) {
  const std::string trace = (folder_ / "trace.json").string();
  const ProgramResult traced = run(reconstruct(10, {"--trace", trace}));
  EXPECT_TRUE(contains(traced.errors, "hexplane backward")) << traced.errors;
  EXPECT_TRUE(contains(traced.errors, "together")) << traced.errors;
  const auto events = nlohmann::json::parse(read_text(trace))["traceEvents"];
  const auto rasterised = std::count_if(
      events.begin(), events.end(), [](const auto& event) { return event["name"] == "rasterise backward"; });
  EXPECT_EQ(rasterised, 30);
  const std::string model = read_text(run_ + "/coarse/model.safetensors");
  run(reconstruct(10, {"--overwrite"}));
  EXPECT_EQ(read_text(run_ + "/coarse/model.safetensors"), model) << "tracing changes nothing";
}

// FFmpeg is loaded when a video is touched.
TEST_F(WholeProgram, WithoutTheVideoLibraryEverythingElseWorks) {
  run(reconstruct(10));
  const std::string no_libraries = "EG4D_LIBRARY_DIR=" + (folder_ / "nothing").string();
  const ProgramResult pictures =
      run_program({"render", run_, "-o", folder_ / "pictures", "--frames", "2"}, {no_libraries});
  EXPECT_EQ(pictures.exit_code, 0) << pictures.errors;
  const ProgramResult video = run_program({"render", run_, "-o", folder_ / "orbit.mp4"}, {no_libraries});
  EXPECT_EQ(video.exit_code, 1);
  EXPECT_TRUE(contains(video.errors, "videos needs libeg4d_video.so")) << video.errors;
  EXPECT_TRUE(contains(video.errors, "EG4D_LIBRARY_DIR")) << video.errors;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "orbit.mp4"));
}

TEST_F(WholeProgram, JsonLinesAreJsonAndQuietIsQuiet) {
  const ProgramResult lines = run(reconstruct(10, {"--log-json"}));
  std::istringstream stream(lines.output);
  int count = 0;
  for (std::string line; std::getline(stream, line); ++count) {
    EXPECT_TRUE(nlohmann::json::parse(line).contains("event")) << line;
  }
  EXPECT_GT(count, 2);
  EXPECT_EQ(lines.errors, "");
  const ProgramResult quiet = run(reconstruct(10, {"--overwrite", "--quiet"}));
  EXPECT_EQ(quiet.errors + quiet.output, "");
}

}  // namespace
}  // namespace eg4d::test
