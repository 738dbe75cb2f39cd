#include "pipeline/open_model.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backend/backend.h"
#include "pipeline/evaluate.h"
#include "pipeline/reconstruct.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"
#include "support/tiny_options.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

class OpenModel : public testing::Test {
 protected:
  void save(const fs::path& file, int64_t iterations) {
    Model model = test::tiny_model(*backend_, 5, 3);
    model.info.iterations = iterations;
    fs::create_directories(file.parent_path());
    save_model(file, model.info, model.gaussians, &model.field);
  }
  int64_t opened(const fs::path& named, WhichModel which = WhichModel::automatic) {
    return open_model(*backend_, named, {.which = which}).info.iterations;
  }

  test::TemporaryFolder folder_;
  const fs::path run_ = folder_ / "run";
  std::unique_ptr<Backend> backend_ = make_cpu_backend();
};

TEST_F(OpenModel, RefinedBeforeBestBeforeLast) {
  EXPECT_ERROR(opened(folder_.path()), "holds no model");
  save(run_ / "coarse/model.safetensors", 1);
  EXPECT_EQ(opened(run_), 1);
  EXPECT_ERROR(opened(run_, WhichModel::best), "holds no best model");
  save(run_ / "coarse/best.safetensors", 2);
  EXPECT_EQ(opened(run_), 2);
  EXPECT_EQ(opened(run_, WhichModel::last), 1);
  EXPECT_ERROR(opened(run_, WhichModel::refined), "holds no refined model");
  save(run_ / "refined/model.safetensors", 3);
  EXPECT_EQ(opened(run_), 3);
  EXPECT_EQ(opened(run_, WhichModel::best), 2);
  EXPECT_EQ(opened(run_, WhichModel::last), 1);
  // A stage's folder holds that stage's models alone.
  EXPECT_EQ(opened(run_ / "refined"), 3);
  EXPECT_EQ(opened(run_ / "coarse"), 2);
  EXPECT_EQ(opened(run_ / "coarse/"), 2);
  EXPECT_EQ(opened(run_ / "coarse", WhichModel::last), 1);
  EXPECT_ERROR(opened(run_ / "coarse", WhichModel::refined), "holds no refined model");
  EXPECT_EQ(opened(run_ / "coarse/model.safetensors"), 1);
  EXPECT_ERROR(opened(run_ / "coarse/model.safetensors", WhichModel::best), "is a file");
}

class DatasetOfModel : public OpenModel {
 protected:
  DatasetOfModel() {
    test::write_tiny_dataset(dataset_, 3, 2, 24, 20);
    train(run_, dataset_);
  }
  void train(const fs::path& run, const fs::path& dataset) {
    ReconstructJob job;
    job.dataset = dataset;
    job.output = run;
    job.options = test::tiny_options(3, 3);
    job.options.start.count = 20;
    Progress quiet;
    reconstruct(*backend_, job, quiet);
  }

  const fs::path dataset_ = folder_ / "dataset";
};

TEST_F(DatasetOfModel, IsTheOneItWasTrainedOnAndNotOneThatCameLater) {
  EXPECT_EQ(dataset_of_model(run_, {}), dataset_);
  test::write_tiny_dataset(run_ / "multiviews", 4, 3, 24, 20);
  EXPECT_EQ(dataset_of_model(run_, {}), dataset_);
  EXPECT_EQ(dataset_of_model(run_ / "coarse", {}), dataset_);
  EXPECT_EQ(dataset_of_model(run_ / "coarse/model.safetensors", {}), dataset_);
  EvaluateJob job;
  job.model = run_;
  Progress quiet;
  const EvaluateResult result = evaluate_model(*backend_, job, quiet);
  EXPECT_EQ(result.dataset, dataset_);
  EXPECT_EQ(result.metrics.views.size(), 2u);
  EXPECT_EQ(result.model, run_ / "coarse/best.safetensors");

  fs::rename(dataset_, folder_ / "elsewhere");
  const std::string error = test::error_of([&] { dataset_of_model(run_, {}); });
  EXPECT_TRUE(test::contains(error, "is no longer at '" + dataset_.string())) << error;
  EXPECT_TRUE(test::contains(error, "multiviews' is another one")) << error;
  EXPECT_EQ(dataset_of_model(run_, folder_ / "elsewhere"), folder_ / "elsewhere");
}

TEST_F(DatasetOfModel, IsTheRunsOwnAlsoAfterTheRunWasMoved) {
  const fs::path before = folder_ / "before", after = folder_ / "after";
  test::write_tiny_dataset(before / "multiviews", 4, 3, 24, 20);
  train(before, before / "multiviews");
  EXPECT_EQ(dataset_of_model(before, {}), before / "multiviews");
  fs::rename(before, after);
  EXPECT_EQ(dataset_of_model(after, {}), after / "multiviews");
  // Even when another run has come to the old place.
  test::write_tiny_dataset(before / "multiviews", 3, 3, 24, 20);
  EXPECT_EQ(dataset_of_model(after, {}), after / "multiviews");
}

// The last model can be the best although its iteration is no multiple of the interval.
TEST_F(DatasetOfModel, TheEndOfTrainingIsEvaluated) {
  EXPECT_EQ(load_model(*backend_, run_ / "coarse/best.safetensors").info.iterations, 6);
}

}  // namespace
}  // namespace eg4d
