#include <fmt/format.h>

#include "app/checks.h"
#include "app/command.h"
#include "app/open_backend.h"
#include "app/view_beside.h"
#include "core/error.h"
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
           "  eg4d reconstruct dataset -o run --start-model fine_14000.pth\n"
           "      go on from a checkpoint of the Python EG4D; from any other model: --start-model "
           "object.ply\n"
           "A dataset is a folder with transforms_train.json and transforms_test.json (D-NeRF layout), or "
           "one "
           "of\n"
           "COLMAP, DyNeRF or HyperNeRF (docs/formats.md).\n"
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
    arguments.options.add("start_model", start_model_,
                          "a model to go on from (fine stage only): of a run, a file, or of the Python EG4D");
    arguments.value_name("start_model", "MODEL");
    arguments.options.add("iteration", iteration_, {-1, 1e15},
                          "--start-model is a folder: the model saved at this iteration; -1: the best");
    arguments.options.add("start_iteration", start_iteration_, {-1, 1e15},
                          "the fine iteration that --start-model goes on from, with a fresh optimiser; -1: a "
                          "Python checkpoint's, with its optimiser, else 0");
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
    if (start_model_.empty() && (iteration_ >= 0 || start_iteration_ >= 0))
      throw UsageError(
          fmt::format("--{} is for --start-model", iteration_ >= 0 ? "iteration" : "start-iteration"));
    job_.start_model = start_model_;
    if (iteration_ >= 0) job_.start_model_iteration = iteration_;
    if (start_iteration_ >= 0) job_.start_iteration = start_iteration_;
    if (!start_model_.empty())
      require_existing(job_.start_model, "a run folder, a model file or a model of the Python EG4D");
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
  std::string dataset_, output_, models_folder_, start_model_;
  int64_t iteration_ = -1, start_iteration_ = -1;
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
