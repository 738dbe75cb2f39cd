// Refinement with score distillation.

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

#include "core/interrupt.h"
#include "pipeline/diffusion_painter.h"
#include "support/expect_error.h"
#include "support/interrupt_after.h"
#include "support/refine_fixture.h"
#include "support/tiny_image_model.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using test::Darker;
using test::Refine;
using test::Same;

TEST_P(Refine, ScoreDistillationIsAskedInEveryIteration) {
  Darker painter;
  RefineJob distilling = job(folder_ / "run");
  auto& training = distilling.options.training;
  training.loss.l1 = training.loss.dssim_instead = 0;
  training.loss.sds = 3;
  training.sds = {.min_step = 0.4f, .max_step = 0.5f, .guidance = 7};
  refine(*backend_, distilling, painter, nullptr, quiet_);
  EXPECT_EQ(painter.released, 0);
  ASSERT_EQ(painter.draws.size(), 40u);
  std::set<uint64_t> seeds;
  std::set<double> shares;
  for (const auto& draw : painter.draws) {
    EXPECT_GE(draw.share, 0.4f);
    EXPECT_LT(draw.share, 0.5f);
    EXPECT_EQ(draw.guidance, 7);
    EXPECT_EQ(draw.weight, 1.5f);  // loss.weight is 0.5
    seeds.insert(draw.noise_seed);
    shares.insert(draw.share);
  }
  EXPECT_EQ(seeds.size(), 40u);
  EXPECT_EQ(shares.size(), 40u);
  const auto brightness = [&](const char* file) {
    const std::vector<float> colors = load_model(*backend_, folder_ / file).gaussians.sh_dc.to_host();
    return std::accumulate(colors.begin(), colors.end(), 0.0) / static_cast<double>(colors.size());
  };
  EXPECT_LT(brightness("run/refined/model.safetensors"), brightness("run/coarse/best.safetensors") - 0.02);
}

TEST_P(Refine, WithoutScoreDistillationTheNetworkMayGoAfterTheLastTarget) {
  Darker painter;
  refine(*backend_, job(folder_ / "run"), painter, nullptr, quiet_);
  EXPECT_TRUE(painter.draws.empty());
  EXPECT_EQ(painter.released, 1);
}

// With real networks, small ones.
TEST_P(Refine, ScoreDistillationChangesColoursAndContinuesToTheSameFiles) {
  test::write_tiny_image_model(folder_ / "tiny");
  DiffusionPainterOptions options;
  options.prompt = "a toy";
  DiffusionPainter painter(
      *backend_, DiffusionPainter::find_models((folder_ / "tiny").string(), "none", "none", {}), options);
  for (const char* copy : {"parts", "plain"})
    fs::copy(folder_ / "run", folder_ / copy, fs::copy_options::recursive);
  const auto distilling = [&](const char* run) {
    RefineJob job = this->job(folder_ / run, 24);
    job.options.training.loss.sds = 1;
    job.options.training.sds.guidance = 3;
    return job;
  };
  refine(*backend_, distilling("run"), painter, nullptr, quiet_);
  for (int64_t stop : {10, 20}) {
    test::InterruptAfter progress(stop);
    EXPECT_THROW(refine(*backend_, distilling("parts"), painter, nullptr, progress), Interrupted);
    clear_interrupt();
  }
  EXPECT_TRUE(refine(*backend_, distilling("parts"), painter, nullptr, quiet_).resumed);
  EXPECT_EQ(outcome(folder_ / "parts"), outcome(folder_ / "run"));

  refine(*backend_, job(folder_ / "plain", 24), painter, nullptr, quiet_);
  const Model before = load_model(*backend_, folder_ / "run/coarse/best.safetensors"),
              after = load_model(*backend_, folder_ / "run/refined/model.safetensors"),
              plain = load_model(*backend_, folder_ / "plain/refined/model.safetensors");
  EXPECT_FALSE(same(after.gaussians.sh_dc, plain.gaussians.sh_dc));
  EXPECT_FALSE(same(after.field.grid, plain.field.grid));
  expect_frozen(before, after);
}

// What the published code means to do (docs/stage-three.md): always time step 99 of 1000.
TEST_P(Refine, ScoreDistillationCanStayAtOneTimeStep) {
  Darker painter;
  RefineJob distilling = job(folder_ / "run", 6);
  distilling.options.training.loss.sds = 4.1472f;
  distilling.options.training.sds = {.min_step = 0.0995f, .max_step = 0.0995f};
  refine(*backend_, distilling, painter, nullptr, quiet_);
  ASSERT_EQ(painter.draws.size(), 6u);
  for (const auto& draw : painter.draws) {
    EXPECT_EQ(std::floor(draw.share * 1000), 99);
    EXPECT_FLOAT_EQ(draw.weight, 4.1472f / 2);
  }
}

TEST_P(Refine, ScoreDistillationSaysWhatIsWrong) {
  Same without;
  RefineJob distilling = job(folder_ / "run");
  distilling.options.training.loss.sds = 1;
  EXPECT_ERROR(refine(*backend_, distilling, without, nullptr, quiet_), "needs the diffusion network");
  Darker painter;
  distilling.options.training.sds = {.min_step = 0.5f, .max_step = 0.4f};
  EXPECT_ERROR(refine(*backend_, distilling, painter, nullptr, quiet_), "sds.min_step (0.5) is above");
  EXPECT_FALSE(fs::exists(folder_ / "run/refined"));
}

}  // namespace
}  // namespace eg4d
