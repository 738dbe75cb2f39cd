#include "pipeline/refine.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "core/interrupt.h"
#include "pipeline/reconstruct.h"
#include "support/expect_error.h"
#include "support/interrupt_after.h"
#include "support/random_values.h"
#include "support/temporary_folder.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Diffusion that knows the answer: every picture becomes the one it is given, with red and blue exchanged.
class SwappedColors : public TargetPainter {
 public:
  Picture paint(const Picture& reference, size_t view, Background) override {
    painted.push_back(view);
    Picture picture = reference;
    for (size_t i = 0; i < picture.data.size(); i += 3) std::swap(picture.data[i], picture.data[i + 2]);
    return picture;
  }
  std::string identity() const override { return "swapped colours"; }
  std::vector<size_t> painted;
};

class Same : public TargetPainter {
 public:
  Picture paint(const Picture& reference, size_t, Background) override { return reference; }
  std::string identity() const override { return "identity"; }
};

class Refine : public ::testing::Test {
 protected:
  void SetUp() override {
    test::write_tiny_dataset(folder_ / "dataset", 4, 3, 24, 20);
    reconstruct(folder_ / "run");
  }
  void TearDown() override { clear_interrupt(); }

  void reconstruct(const fs::path& run) {
    ReconstructJob job;
    job.dataset = folder_ / "dataset";
    job.output = run;
    auto& options = job.options;
    options.start.count = 200;
    options.hexplane.channels = 4;
    options.hexplane.resolution = 8;
    options.hexplane.levels = {1, 2};
    options.hexplane.time_resolution = 4;
    options.deformation.width = 8;
    options.schedule.coarse_iterations = 50;
    options.schedule.fine_iterations = 50;
    options.schedule.evaluate_interval = 25;
    options.schedule.random_resolution = false;
    options.density.from = 1000;
    eg4d::reconstruct(*backend_, job, quiet_);
  }

  RefineJob job(const fs::path& run, int iterations = 40) const {
    RefineJob job;
    job.run = run;
    job.options.training.iterations = iterations;
    job.options.evaluate_interval = 10;
    return job;
  }

  // Everything in refined/ that must not depend on interruptions.
  std::string outcome(const fs::path& run) {
    json metrics = json::parse(test::read_text(run / "refined/metrics.json"));
    metrics.erase("run");
    return metrics.dump() + test::read_text(run / "refined/model.safetensors") +
           test::read_text(run / "refined/log.jsonl");
  }

  test::TemporaryFolder folder_;
  std::unique_ptr<Backend> backend_ = make_cpu_backend();
  Progress quiet_;
};

TEST_F(Refine, MovesColoursAndTheHexplaneAndNothingElse) {
  SwappedColors painter;
  const RefineResult result = refine(*backend_, job(folder_ / "run"), painter, nullptr, quiet_);
  const Model before = load_model(*backend_, folder_ / "run/coarse/best.safetensors");
  const Model after = load_model(*backend_, result.model);
  const auto same = [](const Tensor& a, const Tensor& b) {
    return test::same_bits(a.to_host(), b.to_host());
  };
  EXPECT_TRUE(same(before.gaussians.positions, after.gaussians.positions));
  EXPECT_TRUE(same(before.gaussians.log_scales, after.gaussians.log_scales));
  EXPECT_TRUE(same(before.gaussians.quaternions, after.gaussians.quaternions));
  EXPECT_TRUE(same(before.gaussians.opacity_logits, after.gaussians.opacity_logits));
  EXPECT_TRUE(same(before.field.network, after.field.network));
  EXPECT_FALSE(same(before.gaussians.sh_dc, after.gaussians.sh_dc));
  EXPECT_FALSE(same(before.field.grid, after.field.grid));
  EXPECT_FALSE(same(before.field.box, after.field.box));
  // Each view was painted once.
  std::sort(painter.painted.begin(), painter.painted.end());
  EXPECT_EQ(painter.painted, (std::vector<size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_TRUE(refine(*backend_, job(folder_ / "run"), painter, nullptr, quiet_).already_done);
  EXPECT_EQ(painter.painted.size(), 9u);
}

TEST_F(Refine, ConvergesToItsTargets) {
  SwappedColors painter;
  RefineJob longer = job(folder_ / "run", 600);
  longer.options.training.rate.sh_dc = 0.01f;
  refine(*backend_, longer, painter, nullptr, quiet_);
  std::istringstream log(test::read_text(folder_ / "run/refined/log.jsonl"));
  double first = 0, last = 0;
  for (std::string line; std::getline(log, line);)
    if (const json record = json::parse(line); record.contains("psnr")) {
      if (first == 0) first = record["psnr"];
      last = record["psnr"];
    }
  // Positions, sizes and opacities stay: colours alone cannot make up for them.
  EXPECT_GT(last, first + 3);
  EXPECT_GT(last, 22);
}

// With pictures that are already right, refinement improves on what training reached.
TEST_F(Refine, TheIdentityOnlyImproves) {
  Same painter;
  refine(*backend_, job(folder_ / "run", 300), painter, nullptr, quiet_);
  const auto psnr = [&](const char* file) {
    return json::parse(test::read_text(folder_ / file))["splits"]["test"]["psnr"].get<double>();
  };
  EXPECT_GT(psnr("run/refined/metrics.json"), psnr("run/coarse/metrics.json") - 0.1);
}

TEST_F(Refine, InterruptedAndContinuedGivesTheSameFiles) {
  fs::copy(folder_ / "run", folder_ / "parts", fs::copy_options::recursive);
  SwappedColors painter;
  refine(*backend_, job(folder_ / "run"), painter, nullptr, quiet_);
  for (int64_t stop : {10, 20, 30}) {
    test::InterruptAfter progress(stop);
    EXPECT_THROW(refine(*backend_, job(folder_ / "parts"), painter, nullptr, progress), Interrupted);
    clear_interrupt();
  }
  EXPECT_TRUE(refine(*backend_, job(folder_ / "parts"), painter, nullptr, quiet_).resumed);
  EXPECT_EQ(outcome(folder_ / "parts"), outcome(folder_ / "run"));
}

TEST_F(Refine, GuardedMemoryGivesTheSameModel) {
  fs::copy(folder_ / "run", folder_ / "guarded", fs::copy_options::recursive);
  SwappedColors painter;
  refine(*backend_, job(folder_ / "run"), painter, nullptr, quiet_);
  const auto guarded = make_cpu_backend({.guard_memory = true});
  refine(*guarded, job(folder_ / "guarded"), painter, nullptr, quiet_);
  EXPECT_EQ(outcome(folder_ / "guarded"), outcome(folder_ / "run"));
}

TEST_F(Refine, SaysWhatIsWrong) {
  Same painter;
  EXPECT_ERROR(refine(*backend_, job(folder_ / "nowhere"), painter, nullptr, quiet_),
               "holds no reconstructed model");
  refine(*backend_, job(folder_ / "run"), painter, nullptr, quiet_);
  EXPECT_ERROR(refine(*backend_, job(folder_ / "run", 41), painter, nullptr, quiet_),
               "iterations is 41, it was 40");
  RefineJob elsewhere = job(folder_ / "run");
  elsewhere.dataset = folder_ / "nothing";
  EXPECT_THROW(refine(*backend_, elsewhere, painter, nullptr, quiet_), Error);
}

}  // namespace
}  // namespace eg4d
