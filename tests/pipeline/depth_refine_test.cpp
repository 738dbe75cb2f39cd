// Refinement with a ControlNet and depth maps.

#include <gtest/gtest.h>

#include "core/config.h"
#include "core/interrupt.h"
#include "picture/picture_resize.h"
#include "pipeline/diffusion_painter.h"
#include "support/dpt_manifest.h"
#include "support/expect_error.h"
#include "support/hashed_weights.h"
#include "support/interrupt_after.h"
#include "support/places.h"
#include "support/refine_fixture.h"
#include "support/run_program.h"
#include "support/tiny_image_model.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using test::Refine;

// SDXL with a ControlNet and its depth maps, all of them small.
class DepthRefine : public Refine {
 protected:
  void SetUp() override {
    Refine::SetUp();
    test::write_tiny_image_model(folder_ / "tiny");
    test::write_tiny_depth_model(folder_ / "depth");
    test::copy_model_folder(test::test_data() / "controlnet", kControl);
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

TEST_P(DepthRefine, ChangesColoursAndContinuesToTheSameFiles) {
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

TEST_P(DepthRefine, TheControlNetMattersAndSizesStay) {
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

// Pillow's bicubic there and back, as published for this variant.
TEST_P(DepthRefine, PicturesAreResizedBicubically) {
  Picture picture(24, 16, 3);
  for (size_t i = 0; i < picture.data.size(); ++i) picture.data[i] = static_cast<uint8_t>(i * i / 3 % 251);
  DiffusionPainterOptions options = options_;
  options.size = 48;
  const Picture painted = DiffusionPainter(*backend_, models_, options).paint(picture, 1, Background::white);
  options.size = 0;
  const Picture inside =
      DiffusionPainter(*backend_, models_, options)
          .paint(resize_picture(picture, 48, 32, ResizeFilter::bicubic), 1, Background::white);
  EXPECT_EQ(painted.data, resize_picture(inside, 24, 16, ResizeFilter::bicubic).data);
}

TEST_P(DepthRefine, SaysWhatIsWrong) {
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
  DiffusionPainterOptions idle = options_;
  idle.sampling.steps = 1;
  wrong.network.path = folder_ / "nowhere";  // said before weights are looked at
  EXPECT_TRUE(test::contains(error_of(idle, wrong), "leaves none of 1 denoising steps"));
  wrong.network = models_.network;
  wrong.control->network.path = folder_ / "tiny/unet";
  EXPECT_TRUE(test::contains(error_of(options_, wrong), "is no ControlNet"));
  wrong.control = models_.control;
  wrong.control->depth.path = folder_ / "tiny/unet/diffusion_pytorch_model.safetensors";
  EXPECT_TRUE(test::contains(error_of(options_, wrong), "is not DPT-Hybrid"));
  const auto find = [&](const std::string& network, const std::string& depth) {
    return test::error_of([&] { DiffusionPainter::find_control(network, depth, folder_ / "none"); });
  };
  EXPECT_TRUE(test::contains(find("sdxl_turbo", ""), "sdxl_turbo is no ControlNet"));
  EXPECT_TRUE(test::contains(find("", (folder_ / "depth").string()), "controlnet_depth_sdxl_small"));
  EXPECT_TRUE(test::contains(find(kControl, "u2net"), "u2net makes no depth maps"));
  EXPECT_TRUE(test::contains(find(kControl, "nowhere.safetensors"), "there is no model file"));
}

using DepthRefineOnCpu = DepthRefine;

TEST_F(DepthRefineOnCpu, OnTheCommandLine) {
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
  // Once more: nothing of the weights is read.
  for (const auto& file : fs::recursive_directory_iterator(tiny))
    if (file.path().extension() == ".safetensors") test::write_text(file.path(), "no weights any more");
  const auto again = run({"--model", tiny, "--vae", "none", "--matting", "none", "--controlnet", kControl,
                          "--depth-model", depth, "--diffusion.steps", "4", "--diffusion.size", "32"});
  EXPECT_EQ(again.exit_code, 0) << again.errors;
  EXPECT_TRUE(test::contains(again.errors, "was finished before")) << again.errors;
  const auto conflicting = run({"--model", tiny, "--vae", "none", "--matting", "none", "--controlnet",
                                kControl, "--depth-model", depth, "--preset", "fast", "--overwrite"});
  EXPECT_TRUE(test::contains(conflicting.errors, "controlnet.scale is 0")) << conflicting.errors;
}

EG4D_ON_EACH_DEVICE(DepthRefine);

}  // namespace
}  // namespace eg4d
