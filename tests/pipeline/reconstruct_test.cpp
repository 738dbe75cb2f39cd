#include "pipeline/reconstruct.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "core/interrupt.h"
#include "splat/model.h"
#include "support/expect_error.h"
#include "support/interrupt_after.h"
#include "support/temporary_folder.h"
#include "support/tiny_options.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

ReconstructJob tiny_job(const fs::path& dataset, const fs::path& output) {
  ReconstructJob job;
  job.dataset = dataset;
  job.output = output;
  job.preset = "paper";
  auto& options = job.options = test::tiny_options(20, 40);
  options.start.count = 40;
  options.schedule.evaluate_interval = 10;
  options.density.from = 5;
  options.density.interval = 5;
  options.density.max_gaussians = 100;
  return job;
}

class Reconstruct : public ::testing::Test {
 protected:
  void SetUp() override {
    dataset_ = folder_ / "dataset";
    test::write_tiny_dataset(dataset_, 4, 3, 24, 20);
  }
  void TearDown() override { clear_interrupt(); }

  // Everything in a run folder that must not depend on interruptions.
  std::string outcome(const fs::path& output) {
    json metrics = json::parse(test::read_text(output / "coarse/metrics.json"));
    metrics.erase("run");
    return metrics.dump() + test::read_text(output / "coarse/model.safetensors") +
           test::read_text(output / "coarse/best.safetensors") + test::read_text(output / "coarse/log.jsonl");
  }

  test::TemporaryFolder folder_;
  fs::path dataset_;
  std::unique_ptr<Backend> backend_ = make_cpu_backend();
  Progress quiet_;
};

TEST_F(Reconstruct, WritesAModelThatLoadsAndMetrics) {
  const auto result = reconstruct(*backend_, tiny_job(dataset_, folder_ / "run"), quiet_);
  const Model model = load_model(*backend_, result.model);
  EXPECT_EQ(model.info.iterations, 60);
  EXPECT_EQ(model.info.frame_count, 3);
  EXPECT_TRUE(model.info.deforms);
  const json metrics = json::parse(test::read_text(result.metrics));
  EXPECT_GT(metrics["splits"]["test"]["psnr"].get<double>(), 5);
  EXPECT_EQ(metrics["gaussians"].get<int64_t>(), model.gaussians.count());
  EXPECT_EQ(metrics["evaluations"].size(), 6u);
  EXPECT_FALSE(fs::exists(folder_ / "run" / "coarse/checkpoint.safetensors"));
  // The same command again has nothing to do; another setting or dataset is refused.
  EXPECT_TRUE(reconstruct(*backend_, tiny_job(dataset_, folder_ / "run"), quiet_).already_done);
  ReconstructJob other = tiny_job(dataset_, folder_ / "run");
  other.options.seed = 7;
  EXPECT_ERROR(reconstruct(*backend_, other, quiet_), "holds a run with other settings");
  other.overwrite = true;
  EXPECT_FALSE(reconstruct(*backend_, other, quiet_).already_done);
}

TEST_F(Reconstruct, InterruptedAndContinuedGivesTheSameFiles) {
  reconstruct(*backend_, tiny_job(dataset_, folder_ / "whole"), quiet_);
  const std::string whole = outcome(folder_ / "whole");
  const ReconstructJob job = tiny_job(dataset_, folder_ / "parts");
  for (int64_t stop : {10, 20, 50}) {
    test::InterruptAfter progress(stop);
    EXPECT_THROW(reconstruct(*backend_, job, progress), Interrupted);
    clear_interrupt();
  }
  EXPECT_TRUE(reconstruct(*backend_, job, quiet_).resumed);
  EXPECT_EQ(outcome(folder_ / "parts"), whole);
}

TEST_F(Reconstruct, GuardedMemoryGivesTheSameModel) {
  reconstruct(*backend_, tiny_job(dataset_, folder_ / "plain"), quiet_);
  const auto guarded = make_cpu_backend({.guard_memory = true});
  reconstruct(*guarded, tiny_job(dataset_, folder_ / "guarded"), quiet_);
  EXPECT_EQ(outcome(folder_ / "plain"), outcome(folder_ / "guarded"));
}

TEST_F(Reconstruct, SilhouetteStartFindsTheObject) {
  ReconstructJob job = tiny_job(dataset_, folder_ / "run");
  job.options.start.points = StartPoints::silhouette;
  EXPECT_NO_THROW(reconstruct(*backend_, job, quiet_));
  job.output = folder_ / "black";
  job.options.data.background =
      Background::black;  // the pictures are on white: everything is object, nothing is empty
  EXPECT_NO_THROW(reconstruct(*backend_, job, quiet_));
}

TEST_F(Reconstruct, BadOutputFolders) {
  ReconstructJob job = tiny_job(dataset_, dataset_ / "transforms_train.json");
  EXPECT_ERROR(reconstruct(*backend_, job, quiet_), "is not a folder");
  job = tiny_job(folder_ / "nowhere", folder_ / "run");
  EXPECT_ERROR(reconstruct(*backend_, job, quiet_), "does not exist");
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

TEST(ModelFile, RefusesWhatIsNotAModel) {
  const test::TemporaryFolder folder;
  const auto backend = make_cpu_backend();
  EXPECT_ERROR(load_model(*backend, folder / "none.safetensors"), "none.safetensors");
  test::write_text(folder / "text.safetensors", "hello, this is no model");
  EXPECT_ERROR(load_model(*backend, folder / "text.safetensors"), "is no safetensors file");
}

}  // namespace
}  // namespace eg4d
