#include "pipeline/reconstruct.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "core/config.h"
#include "core/interrupt.h"
#include "pipeline/open_model.h"
#include "scene/dataset.h"
#include "splat/model.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/interrupt_after.h"
#include "support/limited_backend.h"
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

class Reconstruct : public test::OnEachDevice {
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
  std::unique_ptr<Backend> backend_ = test::make_test_backend();
  Progress quiet_;
};

TEST_P(Reconstruct, WritesAModelThatLoadsAndMetrics) {
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
  EXPECT_ERROR(reconstruct(*backend_, other, quiet_), "other settings (seed is 7, it was 0)");
  other.overwrite = true;
  EXPECT_FALSE(reconstruct(*backend_, other, quiet_).already_done);
}

TEST_P(Reconstruct, InterruptedAndContinuedGivesTheSameFiles) {
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

TEST_P(Reconstruct, WithoutMemoryItSaysWhatIsKeptAndGoesOnFromThere) {
  const auto job = [&](const char* run) {
    ReconstructJob job = tiny_job(dataset_, folder_ / run);
    job.options.density.gradient = 1e-6f;
    job.options.density.max_gaussians = 1000;
    job.options.checkpoint.interval = 10;
    return job;
  };
  reconstruct(*backend_, job("whole"), quiet_);

  test::LimitedBackend small(size_t{1} << 40);
  class Shrink : public Progress {
   public:
    explicit Shrink(test::LimitedBackend& backend) : backend_(backend) {}
    void update(int64_t step, std::initializer_list<Figure>) override {
      if (step == 40) backend_.limit_to(0);
    }
    test::LimitedBackend& backend_;
  } progress(small);
  const std::string said = test::error_of([&] { reconstruct(small, job("parts"), progress); });
  EXPECT_TRUE(test::contains(said, "memory")) << said;
  EXPECT_TRUE(test::contains(said, "the checkpoint of iteration")) << said;
  EXPECT_TRUE(test::contains(said, "the same command continues from it")) << said;
  EXPECT_EQ(said.find('\n'), std::string::npos) << said;
  EXPECT_TRUE(fs::exists(folder_ / "parts/coarse/checkpoint.safetensors"));
  EXPECT_TRUE(reconstruct(*backend_, job("parts"), quiet_).resumed);
  EXPECT_EQ(outcome(folder_ / "parts"), outcome(folder_ / "whole"));
}

// Killed while the best model and the checkpoint that it belongs to were written.
TEST_P(Reconstruct, TheBestModelAndTheCheckpointAgree) {
  reconstruct(*backend_, tiny_job(dataset_, folder_ / "whole"), quiet_);
  const ReconstructJob job = tiny_job(dataset_, folder_ / "parts");
  const fs::path best = folder_ / "parts/coarse/best.safetensors",
                 next = folder_ / "parts/coarse/best.next.safetensors";
  const auto train_until = [&](int64_t stop) {
    test::InterruptAfter progress(stop);
    EXPECT_THROW(reconstruct(*backend_, job, progress), Interrupted);
    clear_interrupt();
  };
  train_until(40);
  const std::string at_40 = test::read_text(best);
  EXPECT_LE(load_model(*backend_, best).info.iterations, 40);
  // Before the checkpoint was complete: the new best is dropped.
  fs::copy_file(folder_ / "whole/coarse/model.safetensors", next);
  train_until(50);
  EXPECT_FALSE(fs::exists(next));
  // After it: the best gets its place.
  const std::string at_50 = test::read_text(best);
  fs::rename(best, next);
  test::write_text(best, at_40);
  reconstruct(*backend_, job, quiet_);
  EXPECT_FALSE(fs::exists(next));
  EXPECT_EQ(outcome(folder_ / "parts"), outcome(folder_ / "whole"));
}

TEST_P(Reconstruct, TheBestModelIsWrittenWithCheckpoints) {
  const ReconstructJob job = tiny_job(dataset_, folder_ / "run");
  const fs::path best = folder_ / "run/coarse/best.safetensors";
  // After the first evaluation of the fine stage.
  class Watch : public Progress {
   public:
    explicit Watch(fs::path file) : file_(std::move(file)) {}
    void update(int64_t step, std::initializer_list<Figure>) override {
      if (step >= 40) seen_ |= fs::exists(file_);
    }
    fs::path file_;
    bool seen_ = false;
  } progress(best);
  reconstruct(*backend_, job, progress);
  EXPECT_FALSE(progress.seen_);
  EXPECT_TRUE(fs::exists(best));
}

TEST_P(Reconstruct, ADamagedManifestIsAnError) {
  const ReconstructJob job = tiny_job(dataset_, folder_ / "run");
  test::InterruptAfter progress(20);
  EXPECT_THROW(reconstruct(*backend_, job, progress), Interrupted);
  clear_interrupt();
  test::write_text(folder_ / "run/coarse/manifest.json", "xx\n");
  EXPECT_ERROR(reconstruct(*backend_, job, quiet_), "manifest.json' is damaged");
}

// As versions before wrote it: the settings as a TOML text.
TEST_P(Reconstruct, AnOlderManifestIsUnderstood) {
  const ReconstructJob job = tiny_job(dataset_, folder_ / "run");
  ReconstructOptions options = job.options;
  options.checkpoint = {};
  ConfigSchema schema;
  options.bind(schema);
  const json manifest = {{"stage", "reconstruct"},
                         {"version", 1},
                         {"options", schema.to_toml()},
                         {"dataset", fmt::format("{:016x}", Dataset(dataset_).fingerprint())}};
  fs::create_directories(folder_ / "run/coarse");
  test::write_text(folder_ / "run/coarse/manifest.json", manifest.dump(2));
  test::InterruptAfter progress(20);
  EXPECT_THROW(reconstruct(*backend_, job, progress), Interrupted);
  clear_interrupt();
  ReconstructJob other = job;
  other.options.seed = 7;
  EXPECT_ERROR(reconstruct(*backend_, other, quiet_), "seed is 7, it was 0");
  EXPECT_TRUE(reconstruct(*backend_, job, quiet_).resumed);
  EXPECT_TRUE(reconstruct(*backend_, job, quiet_).already_done);
}

TEST_P(Reconstruct, ARunWithoutEvaluationsHasNoBest) {
  ReconstructJob job = tiny_job(dataset_, folder_ / "run");
  job.options.data.test_split = "none";
  const auto result = reconstruct(*backend_, job, quiet_);
  EXPECT_FALSE(json::parse(test::read_text(result.metrics)).contains("best"));
  EXPECT_FALSE(fs::exists(folder_ / "run/coarse/best.safetensors"));
}

// Stage I writes its held-out view as test and as val.
TEST_P(Reconstruct, SplitsOfTheSamePicturesAreEvaluatedOnce) {
  fs::copy_file(dataset_ / "transforms_test.json", dataset_ / "transforms_val.json");
  fs::copy_file(dataset_ / "transforms_train.json", dataset_ / "transforms_other.json");
  fs::copy_file(dataset_ / "transforms_train.json", dataset_ / "transforms_more.json");
  const auto result = reconstruct(*backend_, tiny_job(dataset_, folder_ / "run"), quiet_);
  const json splits = json::parse(test::read_text(result.metrics))["splits"];
  ASSERT_EQ(splits.size(), 4u);
  EXPECT_EQ(splits["val"], splits["test"]);
  EXPECT_EQ(splits["more"], splits["other"]);
  EXPECT_EQ(splits["test"]["pictures"], 3);
  EXPECT_EQ(splits["other"]["pictures"], 9);
}

TEST_P(Reconstruct, FolderNamesNeedNotBeUtf8) {
  const fs::path odd = folder_ / "non\xff" / fs::path("ds\xfe");
  fs::create_directories(odd.parent_path());
  fs::rename(dataset_, odd);
  const auto result = reconstruct(*backend_, tiny_job(odd, folder_ / "run\xfd"), quiet_);
  EXPECT_TRUE(json::parse(test::read_text(result.metrics))["run"].contains("dataset_bytes"));
  EXPECT_EQ(dataset_of_model(folder_ / "run\xfd", {}), odd);
  EXPECT_NO_THROW(load_model(*backend_, result.model));
  EXPECT_TRUE(reconstruct(*backend_, tiny_job(odd, folder_ / "run\xfd"), quiet_).already_done);
}

using ReconstructOnCpu = Reconstruct;

TEST_F(ReconstructOnCpu, GuardedMemoryGivesTheSameModel) {
  reconstruct(*backend_, tiny_job(dataset_, folder_ / "plain"), quiet_);
  const auto guarded = test::make_test_backend({.guard_memory = true});
  reconstruct(*guarded, tiny_job(dataset_, folder_ / "guarded"), quiet_);
  EXPECT_EQ(outcome(folder_ / "plain"), outcome(folder_ / "guarded"));
}

TEST_P(Reconstruct, SilhouetteStartFindsTheObject) {
  ReconstructJob job = tiny_job(dataset_, folder_ / "run");
  job.options.start.points = StartPoints::silhouette;
  EXPECT_NO_THROW(reconstruct(*backend_, job, quiet_));
  job.output = folder_ / "black";
  job.options.data.background =
      Background::black;  // the pictures are on white: everything is object, nothing is empty
  EXPECT_NO_THROW(reconstruct(*backend_, job, quiet_));
}

TEST_P(Reconstruct, BadOutputFolders) {
  ReconstructJob job = tiny_job(dataset_, dataset_ / "transforms_train.json");
  EXPECT_ERROR(reconstruct(*backend_, job, quiet_), "is not a folder");
  job = tiny_job(folder_ / "nowhere", folder_ / "run");
  EXPECT_ERROR(reconstruct(*backend_, job, quiet_), "does not exist");
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

TEST(ModelFile, RefusesWhatIsNotAModel) {
  const test::TemporaryFolder folder;
  const auto backend = test::make_test_backend();
  EXPECT_ERROR(load_model(*backend, folder / "none.safetensors"), "none.safetensors");
  test::write_text(folder / "text.safetensors", "hello, this is no model");
  EXPECT_ERROR(load_model(*backend, folder / "text.safetensors"), "is no safetensors file");
}

EG4D_ON_EACH_DEVICE(Reconstruct);

}  // namespace
}  // namespace eg4d
