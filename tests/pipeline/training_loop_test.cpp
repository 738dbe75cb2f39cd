#include "pipeline/training_loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include "backend/backend.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "io/atomic_file.h"
#include "splat/training_state.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Training that goes astray when it is told to.
class Fake : public TrainingTask {
 public:
  explicit Fake(Backend& backend) : gaussians_(Gaussians::zeros(backend, 2)) {}
  void step() override {
    ++done_;
    if (after_step) after_step(done_);
  }
  int64_t done() const override { return done_; }
  int64_t total() const override { return 100; }
  const char* stage() const override { return "fake"; }
  int64_t iteration() const override { return done_; }
  std::vector<Figure> loss() const override { return {{"psnr", done_ < bad_loss_from ? 20 : kNaN}}; }
  PreparedFile prepare_state(const std::string& extra) override {
    if (done_ >= bad_parameters_from) throw NotFinite("'positions' holds NaN or infinity");
    return {extra.size(), [this, extra, iteration = done_.load()](const fs::path& path) {
              if (before_writing) before_writing(iteration);
              write_file_atomically(path, std::to_string(iteration) + "\n" + extra);
            }};
  }
  std::string load_state(const fs::path& path) override {
    const std::string text = test::read_text(path);
    done_ = std::stoll(text);
    return text.substr(text.find('\n') + 1);
  }
  ModelInfo model_info() const override { return {}; }
  const Gaussians& gaussians() const override { return gaussians_; }
  const DeformationField* field() const override { return nullptr; }

  int64_t bad_loss_from = 1000, bad_parameters_from = 1000;
  std::function<void(int64_t iteration)> after_step;
  std::function<void(int64_t iteration)> before_writing;  // a checkpoint, in the writer's thread
  Gaussians gaussians_;

 private:
  std::atomic<int64_t> done_ = 0;  // a checkpoint's writer looks at it
};

class Loop : public testing::Test {
 protected:
  void train(Fake& task) {
    TrainingLoop loop(*backend_, task, folder_, test_pictures_,
                      {.label = "training",
                       .evaluate_interval = evaluate_interval_,
                       .checkpoint_interval = 25,
                       .checkpoint_seconds = 1e9,
                       .keep_best = false},
                      quiet_, phases_);
    loop.resume();
    loop.run();
    loop.save_model("model.safetensors");
    loop.complete("", {}, "/data");
  }
  std::string checkpoint() const { return test::read_text(folder_.path() / "checkpoint.safetensors"); }

  const test::TemporaryFolder temporary_;
  StageFolder folder_{temporary_ / "stage", {"fake", {}, "input"}, false};
  std::unique_ptr<Backend> backend_ = make_cpu_backend();
  TrainingViews test_pictures_;
  int evaluate_interval_ = 50;
  Progress quiet_;
  PhaseClock phases_;
};

TEST_F(Loop, ALossThatIsNoNumberStopsAndLeavesTheGoodCheckpoint) {
  Fake task(*backend_);
  task.bad_loss_from = 33;
  EXPECT_ERROR(
      train(task),
      "training diverged at iteration 40: 'psnr' is nan; begin anew in another folder or with --overwrite, "
      "with smaller learning rates (rate.*) or another seed (the checkpoint of iteration 25");
  EXPECT_EQ(std::stoi(checkpoint()), 25);
  EXPECT_FALSE(fs::exists(folder_.path() / "model.safetensors"));
}

// Between two looks at the loss.
TEST_F(Loop, ACheckpointIsNeverWrittenOfABadLoss) {
  Fake task(*backend_);
  task.bad_loss_from = 75;
  EXPECT_ERROR(train(task), "diverged at iteration 75");
  EXPECT_EQ(std::stoi(checkpoint()), 50);
}

TEST_F(Loop, NorOfParametersThatAreNoNumbers) {
  Fake task(*backend_);
  task.bad_parameters_from = 1;
  EXPECT_ERROR(train(task), "diverged at iteration 25: 'positions' holds NaN or infinity");
  EXPECT_FALSE(fs::exists(folder_.path() / "checkpoint.safetensors"));
}

TEST_F(Loop, NorAModel) {
  Fake task(*backend_);
  std::vector<float> bad(6, std::numeric_limits<float>::infinity());
  task.gaussians_.positions.copy_from_host(bad.data(), task.gaussians_.positions.bytes());
  EXPECT_ERROR(train(task), "diverged at iteration 100: 'gaussians.positions' holds NaN or infinity");
  EXPECT_FALSE(fs::exists(folder_.path() / "model.safetensors"));
  EXPECT_EQ(std::stoi(checkpoint()), 100);
}

TEST_F(Loop, AnotherRunsCheckpointIsRefused) {
  Fake task(*backend_);
  task.bad_loss_from = 30;
  EXPECT_ERROR(train(task), "diverged");
  const std::string ours = checkpoint();
  const size_t run = ours.find(folder_.fingerprint());
  ASSERT_NE(run, std::string::npos);
  std::string other = ours;
  other[run] = other[run] == '0' ? '1' : '0';
  const fs::path file = folder_.path() / "checkpoint.safetensors";
  Fake next(*backend_);
  test::write_text(file, other);
  EXPECT_ERROR(train(next), "belongs to a run of other settings or another dataset");
  test::write_text(file, "25\nno JSON");
  EXPECT_ERROR(train(next), "delete it");
  test::write_text(file, "25\n{\"evaluations\": [{}]}");
  EXPECT_ERROR(train(next), "delete it");
  test::write_text(file, "25\n{\"evaluations\": []}");  // of a version that wrote no fingerprint
  EXPECT_NO_THROW(train(next));
}

// ---------------------------------------------------------------- written beside the training

TEST_F(Loop, TrainingGoesOnWhileACheckpointIsWritten) {
  Fake task(*backend_);
  bool went_on = true;
  task.before_writing = [&](int64_t iteration) {
    if (iteration == 100) return;
    for (int i = 0; i < 5000 && task.done() == iteration; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    went_on = went_on && task.done() > iteration;
  };
  train(task);
  EXPECT_TRUE(went_on);
}

// The next one waits: at most one content is in memory, and they come in order.
TEST_F(Loop, OneCheckpointIsWrittenAtATime) {
  Fake task(*backend_);
  std::vector<int64_t> before;  // the checkpoint that is there when the next one is written
  task.before_writing = [&](int64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    before.push_back(fs::exists(folder_.path() / "checkpoint.safetensors") ? std::stoi(checkpoint()) : 0);
  };
  train(task);
  EXPECT_EQ(before, (std::vector<int64_t>{0, 25, 50, 75}));
}

TEST_F(Loop, AFullDiskEndsTheTrainingWithItsSentence) {
  Fake task(*backend_);
  task.before_writing = [](int64_t iteration) {
    if (iteration >= 50) throw Error("cannot write 'checkpoint.safetensors': No space left on device");
  };
  EXPECT_ERROR(train(task), "No space left on device");
  EXPECT_LE(task.done(), 75) << "at the next checkpoint at the latest";
  EXPECT_FALSE(fs::exists(folder_.path() / "metrics.json"));
  EXPECT_EQ(std::stoi(checkpoint()), 25);
  // The same at the very end.
  Fake last(*backend_);
  last.before_writing = [](int64_t iteration) {
    if (iteration >= 100) throw Error("cannot write: No space left on device");
  };
  EXPECT_ERROR(train(last), "No space left on device");
  EXPECT_FALSE(fs::exists(folder_.path() / "metrics.json"));
  Fake again(*backend_);
  train(again);
  EXPECT_TRUE(fs::exists(folder_.path() / "metrics.json"));
}

TEST_F(Loop, AnInterruptWaitsForItsCheckpoint) {
  Fake task(*backend_);
  task.before_writing = [](int64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    request_interrupt();  // during the first checkpoint
  };
  EXPECT_THROW(train(task), Interrupted);
  clear_interrupt();
  EXPECT_EQ(std::stoi(checkpoint()), task.done());
}

// The last good one is named, also when it is only just being written.
TEST_F(Loop, DivergenceNamesACheckpointThatIsComplete) {
  Fake task(*backend_);
  task.bad_loss_from = 26;
  task.before_writing = [](int64_t) { std::this_thread::sleep_for(std::chrono::milliseconds(20)); };
  EXPECT_ERROR(train(task), "the checkpoint of iteration 25");
  EXPECT_EQ(std::stoi(checkpoint()), 25);
}

TEST_F(Loop, WithoutAnEvaluationThereIsNoBest) {
  Fake task(*backend_);
  train(task);
  EXPECT_FALSE(test::contains(test::read_text(folder_.path() / "metrics.json"), "best"));
}

// `count` Gaussians that are out of sight, or that cover everything.
Gaussians somewhere(Backend& backend, size_t count, bool covering) {
  PointCloud points;
  points.positions.assign(count * 3, covering ? 0.f : 1e4f);
  points.colors.assign(count * 3, 0.f);
  Gaussians gaussians = gaussians_from_points(backend, points, 0.95f, 1);
  const std::vector<float> scales(count * 3, 0.f);
  gaussians.log_scales.copy_from_host(scales.data(), gaussians.log_scales.bytes());
  return gaussians;
}

TEST_F(Loop, ACollapseIsToldOnce) {
  std::vector<std::string> warnings;
  set_warning_sink([&](const std::string& sentence) { warnings.push_back(sentence); });
  test_pictures_ = test::tiny_scene(*backend_, 1, 1, 16, 16);
  const auto train_with = [&](size_t left, bool covering) {
    warnings.clear();
    Fake task(*backend_);
    task.gaussians_ = somewhere(*backend_, 20, false);
    task.after_step = [&, left, covering](int64_t iteration) {
      if (iteration == 60) task.gaussians_ = somewhere(*backend_, left, covering);
    };
    evaluate_interval_ = 20;
    train(task);
    fs::remove(folder_.path() / "metrics.json");
  };
  train_with(4, true);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_TRUE(test::contains(
      warnings[0],
      "training collapses: at iteration 60 4 of 20 Gaussians are left, and the test PSNR fell from"))
      << warnings[0];
  EXPECT_TRUE(test::contains(warnings[0], "rate.scale")) << warnings[0];
  train_with(4, false);  // pruned, and as good as before
  EXPECT_TRUE(warnings.empty());
  train_with(5, true);  // worse, but they are there
  EXPECT_TRUE(warnings.empty());
  set_warning_sink({});
}

}  // namespace
}  // namespace eg4d
