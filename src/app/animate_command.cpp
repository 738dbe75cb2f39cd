#include <fmt/format.h>

#include "app/checks.h"
#include "app/command.h"
#include "app/open_backend.h"
#include "models/preset_models.h"
#include "pipeline/animate.h"

namespace eg4d {
namespace {

class AnimateCommand : public Command {
 public:
  const char* name() const override { return "animate"; }
  const char* summary() const override {
    return "a picture becomes a video (Stage I-a, Stable Video Diffusion)";
  }
  const char* examples() const override {
    return "  eg4d models fetch svd_xt_1_1            once: the weights (about 5 GB)\n"
           "  eg4d animate photo.png -o run           frames go to run/video. Ctrl-C stops, the same command "
           "continues\n"
           "  eg4d animate photo.png -o run --model svd          14 frames, with that model's settings\n"
           "  eg4d animate photo.png -o run --preset mini        with the small model that comes with eg4d\n"
           "  eg4d animate photo.png -o run --unet AnimateLCM.safetensors --preset lcm   in 4 steps\n"
           "  eg4d animate photo.png -o run --cache 3 --precision f16           faster, not quite the same\n"
           "  eg4d animate photo.png -o run --side 0 --decode-frames 5 --seed 7\n"
           "Then: eg4d multiview run";
  }

  void declare(Arguments& arguments) override {
    arguments.positional("PICTURE", picture_, "PNG, JPEG or WebP; transparency becomes white");
    arguments.options.add("output", output_, "run folder");
    arguments.short_name('o', "output");
    arguments.value_name("output", "RUN", true);
    arguments.value_name("model", "NAME");
    arguments.value_name("models_folder", "FOLDER");
    arguments.options.add("model", model_,
                          "a name (`eg4d models list`), a .safetensors file, or a diffusers folder; default: "
                          "svd_xt_1_1, or the preset's");
    arguments.options.add(
        "unet", unet_,
        "a UNet in the place of the model's own, such as one that was distilled to few steps: "
        "a .safetensors file, or a folder in the diffusers layout");
    arguments.value_name("unet", "FILE");
    arguments.options.add("models_folder", models_folder_, "where to look for weights first");
    arguments.options.add("overwrite", overwrite_, "start anew although the folder holds another video");
    job_.options.bind(schema_);
    arguments.settings(schema_, animate_presets(), "paper, or the one that --model is for");
    arguments.choose_preset(
        [this] { return chosen_preset_ = preset_of_model(PaintingStage::animate, model_); });
  }

  void run(const Arguments& arguments, const CommonOptions& common, Progress& progress) override {
    job_.picture = picture_;
    job_.output = output_;
    job_.overwrite = overwrite_;
    require_existing(job_.picture, "a picture (PNG, JPEG or WebP)");
    require_output(output_);
    check_options(job_.options);
    if (!unet_.empty()) require_existing(unet_, "a UNet's .safetensors file, or its folder");
    job_.unet = unet_;
    if (!chosen_preset_.empty() && chosen_preset_ != "paper")
      progress.message(
          fmt::format("preset {}, which {} is for; --preset takes another", chosen_preset_, model_));
    if (model_.empty()) model_ = model_of_preset(PaintingStage::animate, arguments.preset_name);
    job_.model = require_model(model_, models_folder_);
    const std::unique_ptr<Backend> backend = open_backend(common, Needs::networks);
    const AnimateResult result = animate(*backend, job_, progress);
    progress.end();
    if (result.already_done) progress.message("this video was finished before; --overwrite starts it anew");
    progress.message(fmt::format("frames: {}", result.frames.string()));
    if (std::filesystem::exists(result.video))
      progress.message(fmt::format("video: {}", result.video.string()));
  }

 private:
  std::string picture_, output_, model_, unet_, models_folder_, chosen_preset_;
  bool overwrite_ = false;
  AnimateJob job_;
  ConfigSchema schema_;
};

}  // namespace

std::unique_ptr<Command> make_animate_command() {
  return std::make_unique<AnimateCommand>();
}

}  // namespace eg4d
