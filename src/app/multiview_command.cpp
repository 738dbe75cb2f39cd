#include <fmt/format.h>

#include "app/checks.h"
#include "app/command.h"
#include "app/open_backend.h"
#include "core/text_layout.h"
#include "models/preset_models.h"
#include "pipeline/multiview.h"

namespace eg4d {
namespace {

class MultiviewCommand : public Command {
 public:
  const char* name() const override { return "multiview"; }
  const char* summary() const override {
    return "every frame of a video is painted from all sides (Stage I-b, SV3D)";
  }
  const char* examples() const override {
    return "  eg4d models fetch sv3d_p                once: the weights (about 9 GB)\n"
           "  eg4d multiview run                      the video of `eg4d animate`; the dataset goes to "
           "run/multiviews\n"
           "  eg4d multiview clip.mp4 -o run --elevation 10\n"
           "  eg4d multiview frames/ -o run --injection.strength 0.3\n"
           "  eg4d multiview clip.mp4 -o run --keep-bg false     the background is removed (eg4d models "
           "fetch "
           "u2net)\n"
           "  eg4d multiview run --preset mini        with the small model that comes with eg4d\n"
           "  eg4d multiview run --interpolate-views 4           a further dataset with 84 views of 21\n"
           "Then: eg4d reconstruct run";
  }

  void declare(Arguments& arguments) override {
    arguments.positional("VIDEO", video_, "a run folder, a folder of frames, or a video file");
    arguments.options.add("output", output_, "run folder; needed unless VIDEO is one");
    arguments.short_name('o', "output");
    arguments.options.add(
        "model", model_,
        "a name (`eg4d models list`), or a .safetensors file; default: sv3d_p, or the preset's");
    arguments.value_name("output", "RUN");
    arguments.value_name("model", "NAME");
    arguments.value_name("models_folder", "FOLDER");
    arguments.options.add("models_folder", models_folder_, "where to look for weights first");
    arguments.options.add("overwrite", overwrite_, "start anew although the folder holds other views");
    job_.options.bind(schema_);
    arguments.settings(schema_, multiview_presets(), "paper, or the one that --model is for");
    arguments.choose_preset(
        [this] { return chosen_preset_ = preset_of_model(PaintingStage::multiview, model_); });
  }

  void run(const Arguments& arguments, const CommonOptions& common, Progress& progress) override {
    job_.video = video_;
    job_.overwrite = overwrite_;
    require_existing(job_.video, "a run folder, a folder of frames, or a video");
    const bool is_run = std::filesystem::is_directory(job_.video / "video");
    job_.output = output_.empty() && is_run ? video_ : output_;
    require_output(job_.output);
    check_options(job_.options);
    if (!chosen_preset_.empty() && chosen_preset_ != "paper")
      progress.message(
          fmt::format("preset {}, which {} is for; --preset takes another", chosen_preset_, model_));
    if (model_.empty()) model_ = model_of_preset(PaintingStage::multiview, arguments.preset_name);
    job_.model = require_model(model_, models_folder_);
    job_.models_folder = models_folder_;
    const std::unique_ptr<Backend> backend = open_backend(common, Needs::networks);
    const MultiviewResult result = multiview(*backend, job_, progress);
    progress.end();
    if (result.already_done)
      progress.message("these views were finished before; --overwrite starts them anew");
    progress.message(
        fmt::format("dataset: {} ({})", result.dataset.string(), counted(result.frames, "frame")));
    if (result.dataset != job_.output / "multiviews")
      progress.message(fmt::format("to train on it: eg4d reconstruct {} -o {}", result.dataset.string(),
                                   job_.output.string()));
  }

 private:
  std::string video_, output_, model_, models_folder_, chosen_preset_;
  bool overwrite_ = false;
  MultiviewJob job_;
  ConfigSchema schema_;
};

}  // namespace

std::unique_ptr<Command> make_multiview_command() {
  return std::make_unique<MultiviewCommand>();
}

}  // namespace eg4d
