// Settings of reconstruct and refine that the published code has as switches, in whole runs.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/config.h"
#include "io/image.h"
#include "pipeline/diffusion_painter.h"
#include "pipeline/open_model.h"
#include "pipeline/presets.h"
#include "pipeline/views.h"
#include "scene/dataset.h"
#include "splat/evaluation.h"
#include "support/expect_error.h"
#include "support/refine_fixture.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using test::SwappedColors;

class TrainingSwitches : public test::Refine {
 protected:
  ReconstructJob training(const fs::path& run) const {
    ReconstructJob job;
    job.dataset = folder_ / "dataset";
    job.output = run;
    job.options = test::tiny_options(10, 30);
    job.options.start.count = 60;
    job.options.schedule.random_resolution = false;
    job.options.density.from = 1000;
    return job;
  }
  Model trained(const ReconstructJob& job) {
    return load_model(*backend_, eg4d::reconstruct(*backend_, job, quiet_).model);
  }
  // What is white in the pictures becomes transparent, with another colour behind it.
  void make_transparent() {
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "dataset")) {
      if (entry.path().extension() != ".png") continue;
      const Picture rgb = compose_on_background(read_picture(entry.path()), 255);
      Picture rgba(rgb.width, rgb.height, 4);
      for (size_t i = 0; i < rgb.data.size() / 3; ++i) {
        const uint8_t* from = rgb.data.data() + 3 * i;
        const bool empty = from[0] == 255 && from[1] == 255 && from[2] == 255;
        for (size_t c = 0; c < 3; ++c) rgba.data[4 * i + c] = empty ? 90 : from[c];
        rgba.data[4 * i + 3] = empty ? 0 : 255;
      }
      write_png(entry.path(), rgba);
    }
  }
};

TEST_P(TrainingSwitches, NumberedModelsAreKeptAndChosen) {
  ReconstructJob job = training(folder_ / "numbered");
  const Model plain = trained(job);
  job.overwrite = true;
  job.options.checkpoint.models = {7, 30, 99};
  const Model last = trained(job);
  EXPECT_TRUE(same(plain.gaussians.positions, last.gaussians.positions));  // keeping changes nothing
  const Model seventh = open_model(*backend_, folder_ / "numbered", {.iteration = 7});
  EXPECT_EQ(fine_iterations(seventh.info), 7);
  EXPECT_FALSE(same(seventh.gaussians.positions, last.gaussians.positions));
  const Model thirtieth = open_model(*backend_, folder_ / "numbered/coarse", {.iteration = 30});
  EXPECT_TRUE(same(thirtieth.gaussians.positions, last.gaussians.positions));
  EXPECT_FALSE(fs::exists(folder_ / "numbered/coarse/iteration_99.safetensors"));
  EXPECT_ERROR(open_model(*backend_, folder_ / "numbered", {.iteration = 8}), "no model of iteration 8");

  // Refinement counts on.
  RefineJob refining = this->job(folder_ / "numbered", 5);
  refining.start = folder_ / "numbered";
  refining.iteration = 7;
  refining.options.training.checkpoint.models = {10};
  SwappedColors painter;
  refine(*backend_, refining, painter, nullptr, quiet_);
  EXPECT_EQ(fine_iterations(open_model(*backend_, folder_ / "numbered", {.iteration = 10}).info), 10);
}

TEST_P(TrainingSwitches, TheTestSplitTrainsToo) {
  ReconstructJob job = training(folder_ / "all");
  const Model apart = trained(job);
  job.output = folder_ / "joined";
  job.options.data.train_on_test = true;
  const Model joined = trained(job);
  EXPECT_NE(apart.info.extent, joined.info.extent);  // of all cameras
  EXPECT_FALSE(same(apart.gaussians.positions, joined.gaussians.positions));
  // Refinement of such a model paints the test pictures, too.
  RefineJob refining = this->job(folder_ / "joined", 30);
  SwappedColors painter;
  refine(*backend_, refining, painter, nullptr, quiet_);
  EXPECT_EQ(painter.painted.size(), 12u);
}

TEST_P(TrainingSwitches, RandomBackgroundsMakeOpacityRight) {
  ReconstructJob job = training(folder_ / "opaque");
  job.options.data.random_background = true;
  EXPECT_ERROR(trained(job), "needs pictures with transparency");
  make_transparent();
  // A start of white Gaussians everywhere: on white they may stay, before other colours they must not.
  const auto leftover = [&](bool random_background) {
    ReconstructJob one = training(folder_ / (random_background ? "random" : "fixed"));
    one.options.schedule.fine_iterations = 120;
    one.options.start.points = StartPoints::random;
    one.options.start.count = 150;
    one.options.data.random_background = random_background;
    const Model model = trained(one);
    Dataset dataset(folder_ / "dataset");
    ReconstructOptions options = one.options;
    options.data.background = Background::black;
    options.data.random_background = false;
    const TrainingViews views =
        load_views(*backend_, dataset, dataset.read_split("train"), options, dataset.largest_time());
    const EvaluationMetrics on_black =
        evaluate(*backend_, model.gaussians, model.active_field(), options, views);
    return on_black.psnr;
  };
  EXPECT_GT(leftover(true), leftover(false) + 1);
}

TEST_P(TrainingSwitches, TheDNerfPresetLearns) {
  ReconstructJob job = training(folder_ / "dnerf");
  job.options = {};
  ConfigSchema schema;
  job.options.bind(schema);
  schema.apply_preset("dnerf", reconstruct_presets());
  job.options.hexplane = test::tiny_options(1, 1).hexplane;
  job.options.start.count = 200;
  job.options.schedule.coarse_iterations = 60;
  job.options.schedule.fine_iterations = 120;
  job.options.schedule.evaluate_interval = 30;
  const Model model = trained(job);
  EXPECT_FALSE(model.info.options.deformation.color);
  const auto metrics =
      nlohmann::json::parse(test::read_text(folder_ / "dnerf/coarse/metrics.json"))["evaluations"];
  EXPECT_GT(metrics.back()["psnr"].get<double>(), metrics.front()["psnr"].get<double>() + 1);
}

TEST_P(TrainingSwitches, TheNetworkMayBeRefined) {
  RefineJob refining = job(folder_ / "run", 5);
  SwappedColors painter;
  refining.options.training.train_network = true;
  refine(*backend_, refining, painter, nullptr, quiet_);
  const Model before = load_model(*backend_, folder_ / "run/coarse/best.safetensors"),
              after = load_model(*backend_, folder_ / "run/refined/model.safetensors");
  EXPECT_FALSE(same(before.field.network, after.field.network));
  EXPECT_TRUE(same(before.gaussians.positions, after.gaussians.positions));
}

TEST_P(TrainingSwitches, ScoreDistillationMayBeASum) {
  test::Darker painter;
  RefineJob distilling = job(folder_ / "run", 2);
  distilling.options.training.loss.sds = 1;
  distilling.options.training.sds = {.min_step = 0.0995f, .max_step = 0.0995f, .sum = true};
  refine(*backend_, distilling, painter, nullptr, quiet_);
  ASSERT_EQ(painter.draws.size(), 2u);
  EXPECT_TRUE(painter.draws[0].sum);
  EXPECT_EQ(static_cast<int>(painter.draws[0].share * 1000), 99);
}

TEST(DiffusionSteps, StrengthZeroFollowsTheSteps) {
  DiffusionPainterOptions options;
  options.sampling.strength = 0;
  for (const int steps : {1, 2, 5, 10, 40}) {
    options.sampling.steps = steps;
    EXPECT_NO_THROW(options.check());
    EXPECT_EQ(static_cast<int>(steps * options.made().strength), 1) << steps;
  }
  options.sampling.steps = 10;
  EXPECT_DOUBLE_EQ(options.made().strength, DiffusionPainterOptions().sampling.strength);
}

EG4D_ON_EACH_DEVICE(TrainingSwitches);

}  // namespace
}  // namespace eg4d
