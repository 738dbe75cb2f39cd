#include "pipeline/refine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/config.h"
#include "core/interrupt.h"
#include "pipeline/diffusion_painter.h"
#include "support/expect_error.h"
#include "support/interrupt_after.h"
#include "support/refine_fixture.h"
#include "support/run_program.h"
#include "support/tiny_image_model.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::Refine;
using test::Same;
using test::SwappedColors;

TEST_P(Refine, MovesColoursAndTheHexplaneAndNothingElse) {
  SwappedColors painter;
  const RefineResult result = refine(*backend_, job(folder_ / "run"), painter, nullptr, quiet_);
  const Model before = load_model(*backend_, folder_ / "run/coarse/best.safetensors");
  const Model after = load_model(*backend_, result.model);
  expect_frozen(before, after);
  EXPECT_FALSE(same(before.gaussians.sh_dc, after.gaussians.sh_dc));
  EXPECT_FALSE(same(before.field.grid, after.field.grid));
  EXPECT_FALSE(same(before.field.box, after.field.box));
  // Each view was painted once.
  std::sort(painter.painted.begin(), painter.painted.end());
  EXPECT_EQ(painter.painted, (std::vector<size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_TRUE(refine(*backend_, job(folder_ / "run"), painter, nullptr, quiet_).already_done);
  EXPECT_EQ(painter.painted.size(), 9u);
}

// What the published schedule leaves: the fine stage's iterations count, not the coarse stage's.
TEST_P(Refine, LastIterationLeavesFewerToALaterModel) {
  SwappedColors painter;
  const Model before = load_model(*backend_, folder_ / "run/coarse/best.safetensors");
  const int64_t fine = fine_iterations(before.info);
  EXPECT_EQ(fine, before.info.iterations - 50);
  ASSERT_GE(fine, 25);
  const auto refined_iterations = [&](int last_iteration) {
    RefineJob shorter = job(folder_ / "run");
    shorter.options.training.last_iteration = last_iteration;
    shorter.overwrite = true;
    const RefineResult result = refine(*backend_, shorter, painter, nullptr, quiet_);
    return load_model(*backend_, result.model).info.iterations - before.info.iterations;
  };
  EXPECT_EQ(refined_iterations(0), 40);
  EXPECT_EQ(refined_iterations(35000), 40);
  EXPECT_EQ(refined_iterations(static_cast<int>(fine) + 12), 12);
  EXPECT_EQ(refined_iterations(static_cast<int>(fine)), 0);
  EXPECT_EQ(refined_iterations(1), 0);

  // 15000 at most, and up to 35000.
  const TrainingViews views = test::tiny_scene(*backend_, 2, 2, 16, 16);
  const auto published = [&](int64_t fine_stage) {
    Model model = load_model(*backend_, folder_ / "run/coarse/best.safetensors");
    model.info.options.schedule.coarse_iterations = 6000;
    model.info.iterations = 6000 + fine_stage;
    return RefinementTrainer(*backend_, {}, views, model, nullptr, {}, {}).total_iterations();
  };
  EXPECT_EQ(published(14000), 15000);
  EXPECT_EQ(published(20000), 15000);
  EXPECT_EQ(published(28000), 7000);
  EXPECT_EQ(published(30000), 5000);
}

TEST_P(Refine, PresetsThatAreNotThePublishedOneKeepTheirOwnWays) {
  for (const char* preset : {"fast", "mini"}) {
    RefineOptions options;
    DiffusionPainterOptions painting;
    ConfigSchema schema;
    options.bind(schema);
    painting.bind(schema);
    schema.apply_preset(preset, refine_presets());
    EXPECT_EQ(options.training.last_iteration, 0);
    EXPECT_FALSE(options.training.carry_moments);
    EXPECT_FALSE(options.training.loss.clamp);
    EXPECT_EQ(options.training.rate.offset, 101);
  }
  EXPECT_EQ(RefinementOptions().rate.offset, 4999);
}

// Messages of a run.
class Heard : public Progress {
 public:
  void message(const std::string& text) override { all += text + "\n"; }
  std::string all;
};

TEST_P(Refine, CarriesTheOptimisersStateOver) {
  fs::copy(folder_ / "run", folder_ / "fresh", fs::copy_options::recursive);
  fs::copy(folder_ / "run", folder_ / "parts", fs::copy_options::recursive);
  SwappedColors painter;
  Heard heard;
  refine(*backend_, job(folder_ / "run", 1), painter, nullptr, heard);
  EXPECT_FALSE(test::contains(heard.all, "afresh")) << heard.all;
  fs::remove(folder_ / "fresh/coarse/best_moments.safetensors");
  refine(*backend_, job(folder_ / "fresh", 1), painter, nullptr, heard);
  EXPECT_TRUE(test::contains(heard.all, "best_moments.safetensors' is not there")) << heard.all;

  // One step by hand: a fresh Adam moves everything that has a gradient by its whole rate, a carried one by
  // less.
  const auto dc = [&](const char* file) {
    return load_model(*backend_, folder_ / file).gaussians.sh_dc.to_host();
  };
  const std::vector<float> before = dc("run/coarse/best.safetensors"),
                           carried = dc("run/refined/model.safetensors"),
                           fresh = dc("fresh/refined/model.safetensors");
  size_t whole = 0, part = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const float step = std::abs(fresh[i] - before[i]);
    if (step < 2e-3f) continue;  // no gradient to speak of
    ++whole;
    EXPECT_NEAR(step, 2.5e-3f, 1e-4f);
    if (std::abs(carried[i] - before[i]) < 2.4e-3f) ++part;
  }
  ASSERT_GT(whole, 20u);
  EXPECT_GT(part, whole / 2);

  // A run that was interrupted has the state in its checkpoint.
  refine(
      *backend_,
      [&] {
        RefineJob again = job(folder_ / "run");
        again.overwrite = true;
        return again;
      }(),
      painter, nullptr, quiet_);
  test::InterruptAfter progress(10);
  EXPECT_THROW(refine(*backend_, job(folder_ / "parts"), painter, nullptr, progress), Interrupted);
  clear_interrupt();
  fs::remove(folder_ / "parts/coarse/best_moments.safetensors");
  EXPECT_TRUE(refine(*backend_, job(folder_ / "parts"), painter, nullptr, quiet_).resumed);
  EXPECT_EQ(outcome(folder_ / "parts"), outcome(folder_ / "run"));
}

TEST_P(Refine, MomentsOfAnotherModelAreRefused) {
  Same painter;
  const Model model = load_model(*backend_, folder_ / "run/coarse/best.safetensors");
  const Tensor other = Tensor::zeros(*backend_, {3, 3});
  save_moments(folder_ / "run/coarse/best_moments.safetensors", {{"sh_dc", {other, other, 5}}},
               model.info.iterations);
  EXPECT_ERROR(refine(*backend_, job(folder_ / "run"), painter, nullptr, quiet_),
               "the optimiser's state of 'sh_dc' has shape [3,3]");
}

// Targets are as bright as white can be; what is brighter is left alone when the render is clamped.
TEST_P(Refine, AClampedRenderLeavesOvershootsAlone) {
  Model model = load_model(*backend_, folder_ / "run/coarse/best.safetensors");
  std::vector<float> bright(static_cast<size_t>(model.gaussians.sh_dc.count()), 6.0f);
  TrainingViews views = test::tiny_scene(*backend_, 2, 2, 24, 20);
  const auto refined = [&](bool clamp) {
    model.gaussians.sh_dc.copy_from_host(bright.data(), model.gaussians.sh_dc.bytes());
    model.gaussians.sh_rest.fill_zero();
    RefinementOptions options;
    options.iterations = 3;
    options.carry_moments = false;
    options.loss.lpips = 0;
    options.loss.clamp = clamp;
    options.rate.grid = options.rate.grid_final = 0;
    RefinementTrainer trainer(*backend_, options, views, model, nullptr,
                              [&](size_t, const Tensor& image) {
                                const std::vector<uint8_t> white(static_cast<size_t>(image.count()), 255);
                                return Tensor::from_host<uint8_t>(*backend_, image.shape(), white);
                              },
                              {});
    while (!trainer.finished()) trainer.step();
    return model.gaussians.sh_dc.to_host();
  };
  const std::vector<float> clamped = refined(true), pulled = refined(false);
  EXPECT_LT(*std::min_element(pulled.begin(), pulled.end()), 5.995f);
  EXPECT_TRUE(clamped == bright);
}

TEST_P(Refine, ConvergesToItsTargets) {
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
TEST_P(Refine, TheIdentityOnlyImproves) {
  Same painter;
  refine(*backend_, job(folder_ / "run", 300), painter, nullptr, quiet_);
  const auto psnr = [&](const char* file) {
    return json::parse(test::read_text(folder_ / file))["splits"]["test"]["psnr"].get<double>();
  };
  EXPECT_GT(psnr("run/refined/metrics.json"), psnr("run/coarse/metrics.json") - 0.1);
}

TEST_P(Refine, APromptFileHasALimit) {
  fs::create_directories(folder_ / "prompts");
  const auto prompt = [&] { return prompt_file_text(folder_ / "prompts", {}); };
  EXPECT_EQ(prompt(), "");
  test::write_text(folder_ / "prompts/prompt.txt", "\n a red robot \n");
  EXPECT_EQ(prompt(), "a red robot");
  test::write_text(folder_ / "prompts/prompt.txt", std::string(70000, 'a'));
  EXPECT_ERROR(prompt(), "too long for a prompt");
}

TEST_P(Refine, TheMiniModelComesWithItsPreset) {
  fs::create_directories(folder_ / "models/mini");
  test::write_tiny_image_model(folder_ / "models/mini/sdxl_mini");
  const auto run = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"refine", (folder_ / "run").string(), "--iterations", "2", "--models-folder",
                                 (folder_ / "models").string(), "--overwrite"});
    return test::run_program(words);
  };
  for (const auto& words : {std::vector<std::string>{"--preset", "mini"}, {"--model", "sdxl_mini"}}) {
    const auto result = run(words);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    const std::string manifest = test::read_text(folder_ / "run/refined/manifest.json");
    EXPECT_TRUE(test::contains(manifest, "sdxl_mini")) << manifest;
    EXPECT_EQ(json::parse(manifest)["options"]["rate"]["offset"], 101) << manifest;
  }
}

using RefineOnCpu = Refine;

TEST_F(RefineOnCpu, GuardedMemoryGivesTheSameModel) {
  fs::copy(folder_ / "run", folder_ / "guarded", fs::copy_options::recursive);
  SwappedColors painter;
  refine(*backend_, job(folder_ / "run"), painter, nullptr, quiet_);
  const auto guarded = test::make_test_backend({.guard_memory = true});
  refine(*guarded, job(folder_ / "guarded"), painter, nullptr, quiet_);
  EXPECT_EQ(outcome(folder_ / "guarded"), outcome(folder_ / "run"));
}

TEST_P(Refine, SaysWhatIsWrong) {
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

EG4D_ON_EACH_DEVICE(Refine);

}  // namespace
}  // namespace eg4d
