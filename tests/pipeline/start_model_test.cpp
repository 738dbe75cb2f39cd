// Training and refinement that start from a model from elsewhere.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/interrupt.h"
#include "pipeline/open_model.h"
#include "pipeline/python_model.h"
#include "support/expect_error.h"
#include "support/interrupt_after.h"
#include "support/python_checkpoint.h"
#include "support/refine_fixture.h"
#include "support/tiny_model.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using test::SwappedColors;

class StartModel : public test::Refine {
 protected:
  ReconstructJob training(const fs::path& start, int iterations) const {
    ReconstructJob job;
    job.dataset = folder_ / "dataset";
    job.output = folder_ / "on";
    job.start_model = start;
    job.options = test::tiny_options(50, iterations);
    job.options.schedule.random_resolution = false;
    job.options.density.from = 1000;
    return job;
  }
  fs::path python_checkpoint(int iteration) const {
    const Model model = load_model(*backend_, folder_ / "run/coarse/best.safetensors");
    const fs::path path = folder_ / fmt::format("fine_{}.pth", iteration);
    write_torch_checkpoint(path, test::PythonCheckpoint(model, iteration).value());
    return path;
  }
};

TEST_P(StartModel, AModelFromElsewhereIsRefinedAsTheRunsOwn) {
  SwappedColors painter;
  refine(*backend_, job(folder_ / "run"), painter, nullptr, quiet_);
  RefineJob other = job(folder_ / "other");
  other.start = folder_ / "run/coarse/best.safetensors";
  other.dataset = folder_ / "dataset";
  const RefineResult result = refine(*backend_, other, painter, nullptr, quiet_);
  EXPECT_EQ(result.model, folder_ / "other/refined/model.safetensors");
  const Model a = load_model(*backend_, folder_ / "run/refined/model.safetensors"),
              b = load_model(*backend_, result.model);
  EXPECT_TRUE(same(a.gaussians.sh_dc, b.gaussians.sh_dc));
  EXPECT_TRUE(same(a.field.grid, b.field.grid));
  EXPECT_EQ(model_place(folder_ / "other"), result.model);
  EXPECT_EQ(dataset_of_model(folder_ / "other", {}), folder_ / "dataset");
  // A whole run may be named, too; its best model is meant, and not what was refined of it before.
  RefineJob run = job(folder_ / "third");
  run.start = folder_ / "run";
  const Model c = load_model(*backend_, refine(*backend_, run, painter, nullptr, quiet_).model);
  EXPECT_TRUE(same(a.gaussians.sh_dc, c.gaussians.sh_dc));
}

TEST_P(StartModel, APythonCheckpointIsRefinedWithItsOptimiser) {
  const fs::path checkpoint = python_checkpoint(40);
  const auto refined = [&](bool carry) {
    RefineJob one = job(folder_ / (carry ? "carried" : "fresh"), 1);
    one.start = checkpoint;
    one.dataset = folder_ / "dataset";
    one.options.training.carry_moments = carry;
    SwappedColors painter;
    return load_model(*backend_, refine(*backend_, one, painter, nullptr, quiet_).model);
  };
  const Model carried = refined(true), fresh = refined(false);
  EXPECT_FALSE(same(carried.gaussians.sh_dc, fresh.gaussians.sh_dc));
  expect_frozen(load_model(*backend_, folder_ / "run/coarse/best.safetensors"), carried);
  EXPECT_DOUBLE_EQ(carried.info.extent, 4.6);  // the checkpoint's
  EXPECT_EQ(carried.info.width, 24);           // the dataset's
  EXPECT_EQ(carried.info.frame_count, 3);
}

TEST_P(StartModel, APythonFolderTakesItsExtentFromTheDataset) {
  const Model model = load_model(*backend_, folder_ / "run/coarse/best.safetensors");
  write_python_model(model, folder_ / "python");
  RefineJob folder = job(folder_ / "other", 3);
  folder.start = folder_ / "python";
  SwappedColors painter;
  EXPECT_ERROR(refine(*backend_, folder, painter, nullptr, quiet_), "name the dataset");
  folder.dataset = folder_ / "dataset";
  const Model refined = load_model(*backend_, refine(*backend_, folder, painter, nullptr, quiet_).model);
  EXPECT_NEAR(refined.info.extent, model.info.extent, 1e-9);
  EXPECT_FALSE(same(refined.field.grid, model.field.grid));
}

TEST_P(StartModel, WhatDoesNotMoveIsNotRefined) {
  write_gaussian_ply(folder_ / "object.ply", to_cloud(test::tiny_model(*backend_, 12, 3).gaussians));
  RefineJob still = job(folder_ / "other");
  still.start = folder_ / "object.ply";
  still.dataset = folder_ / "dataset";
  SwappedColors painter;
  EXPECT_ERROR(refine(*backend_, still, painter, nullptr, quiet_), "does not move");
  EXPECT_FALSE(fs::exists(folder_ / "other/refined/model.safetensors"));
}

TEST_P(StartModel, TrainingGoesOnFromACheckpoint) {
  ReconstructJob job = training(python_checkpoint(40), 60);
  job.options.hexplane.channels = 16;  // the checkpoint's sizes count
  const Model before = open_model(*backend_, job.start_model);
  const ReconstructResult result = eg4d::reconstruct(*backend_, job, quiet_);
  const Model after = load_model(*backend_, result.model);
  EXPECT_EQ(after.info.iterations, 60);
  EXPECT_EQ(fine_iterations(after.info), 60);
  EXPECT_EQ(after.info.options.hexplane.channels, 4);
  EXPECT_EQ(after.info.provenance.at("start"), "fine_40.pth");
  EXPECT_FALSE(same(before.gaussians.positions, after.gaussians.positions));
  EXPECT_FALSE(same(before.field.network, after.field.network));
  // With a fresh optimiser, from another iteration, it becomes another model.
  ReconstructJob anew = job;
  anew.output = folder_ / "anew";
  anew.start_iteration = 40;
  const Model other = load_model(*backend_, eg4d::reconstruct(*backend_, anew, quiet_).model);
  EXPECT_FALSE(same(other.gaussians.positions, after.gaussians.positions));
  anew.start_iteration = 60;
  anew.overwrite = true;
  EXPECT_ERROR(eg4d::reconstruct(*backend_, anew, quiet_), "schedule.fine_iterations to more");
  // Another start is another run.
  job.start_model = folder_ / "run/coarse/best.safetensors";
  EXPECT_ERROR(eg4d::reconstruct(*backend_, job, quiet_), "--overwrite");
}

TEST_P(StartModel, AStoppedTrainingComesToTheSameModel) {
  const ReconstructJob whole = training(python_checkpoint(40), 60);
  const Model expected = load_model(*backend_, eg4d::reconstruct(*backend_, whole, quiet_).model);
  ReconstructJob stopped = whole;
  stopped.output = folder_ / "stopped";
  test::InterruptAfter interrupt(50);
  EXPECT_THROW(eg4d::reconstruct(*backend_, stopped, interrupt), Interrupted);
  clear_interrupt();
  const ReconstructResult result = eg4d::reconstruct(*backend_, stopped, quiet_);
  EXPECT_TRUE(result.resumed);
  const Model model = load_model(*backend_, result.model);
  EXPECT_TRUE(same(model.gaussians.positions, expected.gaussians.positions));
  EXPECT_TRUE(same(model.field.network, expected.field.network));
}

TEST_P(StartModel, PlainGaussiansLearnToMove) {
  write_gaussian_ply(folder_ / "object.ply", to_cloud(test::tiny_model(*backend_, 12, 3).gaussians));
  const ReconstructJob job = training(folder_ / "object.ply", 5);
  const Model model = load_model(*backend_, eg4d::reconstruct(*backend_, job, quiet_).model);
  EXPECT_TRUE(model.info.deforms);
  EXPECT_EQ(model.gaussians.count(), 12);
  EXPECT_EQ(model.info.iterations, 5);
  EXPECT_EQ(model.info.options.hexplane.channels, 4);
}

EG4D_ON_EACH_DEVICE(StartModel);

}  // namespace
}  // namespace eg4d
