#include <fmt/format.h>

#include "app/checks.h"
#include "app/command.h"
#include "app/open_backend.h"
#include "app/view_beside.h"
#include "pipeline/phase_clock.h"
#include "pipeline/presets.h"
#include "pipeline/reconstruct.h"

namespace eg4d {
namespace {

class ReconstructCommand : public Command {
 public:
  const char* name() const override { return "reconstruct"; }
  const char* summary() const override { return "a multi-view video becomes 4D Gaussians (Stage II)"; }
  const char* examples() const override {
    return "  eg4d reconstruct examples/robot-192 -o run --preset fast\n"
           "      train; results go to run/coarse. Ctrl-C stops after a checkpoint, the same command "
           "continues\n"
           "  eg4d reconstruct dataset -o run --preset quality --set gaussian.sh_degree=2\n"
           "  eg4d reconstruct dataset -o run --config mine.toml --threads 4\n"
           "A dataset is a folder with transforms_train.json and transforms_test.json (D-NeRF layout, "
           "docs/formats.md).\n"
           "Then: eg4d render run -o orbit.mp4; eg4d evaluate run; eg4d export run -o object.ply";
  }

  bool has_field() const override { return true; }
  void declare(Arguments& arguments) override {
    arguments.positional("DATASET", dataset_, "the dataset folder, or a run folder that holds multiviews/");
    arguments.options.add("output", output_, "run folder; needed unless DATASET is one");
    arguments.short_name('o', "output");
    arguments.value_name("output", "RUN");
    arguments.value_name("models_folder", "FOLDER");
    arguments.options.add("overwrite", overwrite_, "start anew although the folder holds another run");
    arguments.options.add("models_folder", models_folder_,
                          "where to look for LPIPS' weights first, if loss.lpips asks for them");
    view_.declare(arguments);
    job_.options.bind(schema_);
    arguments.settings(schema_, reconstruct_presets(), "paper");
  }

  void run(const Arguments& arguments, const CommonOptions& common, Progress& progress) override {
    job_.dataset = dataset_;
    job_.output = output_;
    job_.overwrite = overwrite_;
    job_.models_folder = models_folder_;
    job_.preset = arguments.preset_name;
    require_existing(job_.dataset, "a dataset folder (one with transforms_train.json)");
    if (output_.empty() && dataset_folder(job_.dataset) != job_.dataset) job_.output = job_.dataset;
    require_output(job_.output);
    view_.start(job_.output, dataset_folder(job_.dataset), common, progress);
    const std::unique_ptr<Backend> backend =
        open_backend(common, job_.options.loss.lpips != 0 ? Needs::networks : Needs::gaussians);
    job_.start_seconds = seconds_since_process_start();
    const ReconstructResult result = reconstruct(*backend, job_, progress);
    progress.end();
    if (result.already_done) progress.message("this run was finished before; --overwrite starts it anew");
    progress.message(fmt::format("model: {}\nmetrics: {}", result.model.string(), result.metrics.string()));
  }

 private:
  std::string dataset_, output_, models_folder_;
  bool overwrite_ = false;
  ReconstructJob job_;
  ViewBeside view_;
  ConfigSchema schema_;
};

}  // namespace

std::unique_ptr<Command> make_reconstruct_command() {
  return std::make_unique<ReconstructCommand>();
}

}  // namespace eg4d
