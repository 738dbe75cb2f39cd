#include "pipeline/refine.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "backend/backend.h"
#include "core/interrupt.h"
#include "pipeline/diffusion_painter.h"
#include "pipeline/reconstruct.h"
#include "support/dpt_manifest.h"
#include "support/expect_error.h"
#include "support/hashed_weights.h"
#include "support/interrupt_after.h"
#include "support/random_values.h"
#include "support/run_program.h"
#include "support/temporary_folder.h"
#include "support/tiny_image_model.h"
#include "support/tiny_options.h"
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

// A prior that wants everything to be darker, and keeps what it was asked.
class Darker : public Same {
 public:
  RefinementTrainer::Distiller distiller() override {
    return
        [this](const Tensor& image, const RefinementTrainer::DistillationDraw& draw, const Tensor& d_image) {
          draws.push_back(draw);
          EXPECT_EQ(image.shape(), d_image.shape());
          const std::vector<float> down(static_cast<size_t>(image.count()),
                                        draw.weight / static_cast<float>(image.count()));
          const Tensor gradient = Tensor::from_host<float>(image.backend(), image.shape(), down);
          image.backend().neural().scaled_sum({.count = image.count(),
                                               .a = d_image.data(),
                                               .b = gradient.data(),
                                               .b_scale = 1,
                                               .y = d_image.data()});
        };
  }
  void release() override { ++released; }
  std::vector<RefinementTrainer::DistillationDraw> draws;
  int released = 0;
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
    auto& options = job.options = test::tiny_options(50, 50);
    options.start.count = 200;
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

  static bool same(const Tensor& a, const Tensor& b) { return test::same_bits(a.to_host(), b.to_host()); }
  static void expect_frozen(const Model& before, const Model& after) {
    EXPECT_TRUE(same(before.gaussians.positions, after.gaussians.positions));
    EXPECT_TRUE(same(before.gaussians.log_scales, after.gaussians.log_scales));
    EXPECT_TRUE(same(before.gaussians.quaternions, after.gaussians.quaternions));
    EXPECT_TRUE(same(before.gaussians.opacity_logits, after.gaussians.opacity_logits));
    EXPECT_TRUE(same(before.field.network, after.field.network));
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

TEST_F(Refine, ScoreDistillationIsAskedInEveryIteration) {
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

TEST_F(Refine, AFinishedRefinementIsRecognisedWithoutWeights) {
  Darker painter;
  const RefineJob whole = job(folder_ / "run");
  EXPECT_FALSE(refinement_finished(whole, painter.identity(), false));
  refine(*backend_, whole, painter, nullptr, quiet_);
  EXPECT_TRUE(refinement_finished(whole, painter.identity(), false));
  EXPECT_ERROR(refinement_finished(job(folder_ / "run", 41), painter.identity(), false), "iterations is 41");
  EXPECT_ERROR(refinement_finished(whole, painter.identity(), true), "other settings");
}

TEST_F(Refine, APromptFileHasALimit) {
  fs::create_directories(folder_ / "prompts");
  const auto prompt = [&] { return prompt_file_text(folder_ / "prompts", {}); };
  EXPECT_EQ(prompt(), "");
  test::write_text(folder_ / "prompts/prompt.txt", "\n a red robot \n");
  EXPECT_EQ(prompt(), "a red robot");
  test::write_text(folder_ / "prompts/prompt.txt", std::string(70000, 'a'));
  EXPECT_ERROR(prompt(), "too long for a prompt");
}

TEST_F(Refine, WithoutScoreDistillationTheNetworkMayGoAfterTheLastTarget) {
  Darker painter;
  refine(*backend_, job(folder_ / "run"), painter, nullptr, quiet_);
  EXPECT_TRUE(painter.draws.empty());
  EXPECT_EQ(painter.released, 1);
}

// With real networks, small ones.
TEST_F(Refine, ScoreDistillationChangesColoursAndContinuesToTheSameFiles) {
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

// SDXL with a ControlNet and its depth maps, all of them small.
class DepthRefine : public Refine {
 protected:
  void SetUp() override {
    Refine::SetUp();
    test::write_tiny_image_model(folder_ / "tiny");
    test::write_tiny_depth_model(folder_ / "depth");
    test::copy_model_folder(fs::path(EG4D_TEST_DATA) / "controlnet", kControl);
    models_ = DiffusionPainter::find_models((folder_ / "tiny").string(), "none", "none", {});
    models_.control = DiffusionPainter::find_control(kControl, (folder_ / "depth").string(), {});
    ConfigSchema schema;
    options_.bind(schema);
    refinement_.bind(schema);
    schema.apply_preset("depth", refine_presets());
    EXPECT_EQ(options_.sampling.steps, 50);
    EXPECT_EQ(options_.sampling.strength, 0.5);
    EXPECT_EQ(options_.sampling.control_scale, 0.3f);
    EXPECT_EQ(options_.size, 1024);
    options_.prompt = "a toy";
    options_.size = 32;
    options_.sampling.steps = 6;
  }

  const std::string kControl = folder_ / "controlnet";
  DiffusionPainter::Models models_;
  DiffusionPainterOptions options_;
  RefineOptions refinement_;
};

TEST_F(DepthRefine, ChangesColoursAndContinuesToTheSameFiles) {
  fs::copy(folder_ / "run", folder_ / "parts", fs::copy_options::recursive);
  DiffusionPainter painter(*backend_, models_, options_);
  refine(*backend_, job(folder_ / "run", 24), painter, nullptr, quiet_);
  for (int64_t stop : {10, 20}) {
    DiffusionPainter again(*backend_, models_, options_);
    test::InterruptAfter progress(stop);
    EXPECT_THROW(refine(*backend_, job(folder_ / "parts", 24), again, nullptr, progress), Interrupted);
    clear_interrupt();
  }
  EXPECT_TRUE(refine(*backend_, job(folder_ / "parts", 24), painter, nullptr, quiet_).resumed);
  EXPECT_EQ(outcome(folder_ / "parts"), outcome(folder_ / "run"));
  for (const auto& target : fs::directory_iterator(folder_ / "run/refined/targets"))
    EXPECT_EQ(test::read_text(target.path()),
              test::read_text(folder_ / "parts/refined/targets" / target.path().filename()));
  const Model before = load_model(*backend_, folder_ / "run/coarse/best.safetensors"),
              after = load_model(*backend_, folder_ / "run/refined/model.safetensors");
  EXPECT_FALSE(same(after.gaussians.sh_dc, before.gaussians.sh_dc));
  expect_frozen(before, after);
}

TEST_F(DepthRefine, TheControlNetMattersAndSizesStay) {
  Picture picture(31, 20, 3);
  for (size_t i = 0; i < picture.data.size(); ++i) picture.data[i] = static_cast<uint8_t>(i * 7 % 251);
  const auto painted = [&](const DiffusionPainterOptions& options, const DiffusionPainter::Models& models) {
    return DiffusionPainter(*backend_, models, options).paint(picture, 1, Background::white);
  };
  const Picture controlled = painted(options_, models_);
  EXPECT_EQ(controlled.width, 31);
  EXPECT_EQ(controlled.height, 20);
  DiffusionPainterOptions free = options_;
  free.sampling.control_scale = 0;
  DiffusionPainter::Models without = models_;
  without.control.reset();
  EXPECT_NE(painted(free, without).data, controlled.data);
  // Released networks come back.
  DiffusionPainter painter(*backend_, models_, options_);
  painter.release();
  EXPECT_EQ(painter.paint(picture, 1, Background::white).data, controlled.data);
}

TEST_F(DepthRefine, SaysWhatIsWrong) {
  const auto error_of = [&](const DiffusionPainterOptions& options, const DiffusionPainter::Models& models) {
    return test::error_of([&] { DiffusionPainter(*backend_, models, options); });
  };
  DiffusionPainterOptions free = options_;
  free.sampling.control_scale = 0;
  EXPECT_TRUE(test::contains(error_of(free, models_), "controlnet.scale is 0"));
  DiffusionPainter::Models wrong = models_;
  wrong.control.reset();
  EXPECT_TRUE(test::contains(error_of(options_, wrong), "no ControlNet was given"));
  wrong.control = models_.control;
  wrong.control->network.path = folder_ / "tiny/unet";
  EXPECT_TRUE(test::contains(error_of(options_, wrong), "is no ControlNet"));
  wrong.control = models_.control;
  wrong.control->depth.path = folder_ / "tiny/unet/diffusion_pytorch_model.safetensors";
  EXPECT_TRUE(test::contains(error_of(options_, wrong), "is not DPT-Hybrid"));
  const auto find = [&](const std::string& network, const std::string& depth) {
    return test::error_of([&] { DiffusionPainter::find_control(network, depth, folder_ / "none"); });
  };
  EXPECT_TRUE(test::contains(find("sdxl_turbo", ""), "sdxl_turbo is no ControlNet"));
  EXPECT_TRUE(test::contains(find(kControl, "u2net"), "u2net makes no depth maps"));
  EXPECT_TRUE(test::contains(find(kControl, "nowhere.safetensors"), "there is no model file"));
}

TEST_F(DepthRefine, OnTheCommandLine) {
  const auto run = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"refine", (folder_ / "run").string(), "--iterations", "2"};
    words.insert(words.end(), more.begin(), more.end());
    return test::run_program(words);
  };
  const std::string tiny = (folder_ / "tiny").string(), depth = (folder_ / "depth").string();
  EXPECT_TRUE(test::contains(run({"--depth-model", depth}).errors, "--depth-model is for a ControlNet"));
  EXPECT_TRUE(test::contains(run({"--preset", "depth", "--model", "nowhere/x"}).errors, "no model file"));
  const auto good = run({"--model", tiny, "--vae", "none", "--matting", "none", "--controlnet", kControl,
                         "--depth-model", depth, "--diffusion.steps", "4", "--diffusion.size", "32"});
  EXPECT_EQ(good.exit_code, 0) << good.errors;
  EXPECT_TRUE(test::contains(good.errors, "with the ControlNet controlnet (scale 0.3)")) << good.errors;
  EXPECT_TRUE(fs::exists(folder_ / "run/refined/model.safetensors"));
  const auto conflicting = run({"--model", tiny, "--vae", "none", "--matting", "none", "--controlnet",
                                kControl, "--depth-model", depth, "--preset", "fast", "--overwrite"});
  EXPECT_TRUE(test::contains(conflicting.errors, "controlnet.scale is 0")) << conflicting.errors;
}

TEST_F(Refine, ScoreDistillationSaysWhatIsWrong) {
  Same without;
  RefineJob distilling = job(folder_ / "run");
  distilling.options.training.loss.sds = 1;
  EXPECT_ERROR(refine(*backend_, distilling, without, nullptr, quiet_), "needs the diffusion network");
  Darker painter;
  distilling.options.training.sds = {.min_step = 0.5f, .max_step = 0.4f};
  EXPECT_ERROR(refine(*backend_, distilling, painter, nullptr, quiet_), "sds.min_step (0.5) is above");
  EXPECT_FALSE(fs::exists(folder_ / "run/refined"));
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
