#include <fmt/format.h>

#include "app/checks.h"
#include "app/command.h"
#include "app/open_backend.h"
#include "app/view_beside.h"
#include "core/error.h"
#include "models/preset_models.h"
#include "pipeline/diffusion_painter.h"
#include "pipeline/open_model.h"
#include "pipeline/perceptual.h"
#include "pipeline/phase_clock.h"
#include "pipeline/python_model.h"
#include "pipeline/refine.h"

namespace eg4d {
namespace {

class RefineCommand : public Command {
 public:
  const char* name() const override { return "refine"; }
  const char* summary() const override {
    return "the object's colours are refined by image diffusion (Stage III, SDXL-Turbo)";
  }
  const char* examples() const override {
    return "  eg4d models fetch sdxl_turbo            once: the weights (about 7 GB)\n"
           "  eg4d refine run --prompt \"a red toy robot\"\n"
           "      the model of `eg4d reconstruct`; results go to run/refined. Ctrl-C stops after a "
           "checkpoint,\n"
           "      the same command continues\n"
           "  eg4d refine run --preset mini           with the small model that comes with eg4d\n"
           "  eg4d refine run --preset depth          with SDXL, held to the pictures' depth by a ControlNet "
           "(slow)\n"
           "  eg4d refine run --no-diffusion          towards the dataset's own pictures, without weights\n"
           "  eg4d refine output/best_14000_27.5.pth --dataset data -o run\n"
           "      a model of the Python EG4D, with its optimiser's state\n"
           "Then: eg4d render run -o orbit.mp4; eg4d evaluate run";
  }

  bool has_field() const override { return true; }
  void declare(Arguments& arguments) override {
    arguments.positional("MODEL", named_,
                         "a run folder with a reconstructed model; with -o also a model file or one of the "
                         "Python EG4D");
    arguments.options.add("output", output_, "run folder for the results; needed unless MODEL is one");
    arguments.short_name('o', "output");
    arguments.value_name("output", "RUN");
    arguments.options.add(
        "iteration", iteration_, {-1, 1e15},
        "MODEL is a folder: start from what was saved at this iteration; -1: from the best");
    arguments.options.add("dataset", dataset_, "the dataset; default: the one that the run was trained on");
    arguments.options.add("model", model_,
                          "a name (`eg4d models list`), a file, or a diffusers folder; default: sdxl_turbo, "
                          "or the preset's");
    arguments.value_name("dataset", "FOLDER");
    arguments.value_name("model", "NAME");
    arguments.value_name("controlnet", "NAME");
    arguments.value_name("depth_model", "NAME");
    arguments.value_name("vae", "NAME");
    arguments.value_name("matting", "NAME");
    arguments.value_name("models_folder", "FOLDER");
    arguments.options.add(
        "controlnet", controlnet_,
        "a ControlNet for depth maps; default: controlnet_depth_sdxl_small with --preset depth, "
        "which this option chooses, else none");
    arguments.options.add("depth_model", depth_,
                          "weights that make the depth maps for it; default: dpt_hybrid_midas");
    arguments.options.add(
        "vae", autoencoder_,
        "another autoencoder; default: sdxl_vae_fp16_fix where it is found, for sdxl_mini its own");
    arguments.options.add("matting", matting_,
                          "weights that cut the object out; default: u2net where it is found; none: keep");
    arguments.options.add("models_folder", models_folder_, "where to look for weights first");
    arguments.options.add("no_diffusion", no_diffusion_, "refine towards the dataset's pictures themselves");
    arguments.options.add("overwrite", overwrite_, "start anew although the run holds another refinement");
    view_.declare(arguments);
    job_.options.bind(schema_);
    painting_.bind(schema_);
    arguments.settings(schema_, refine_presets(), "paper, or the one that --model or --controlnet is for");
    arguments.choose_preset([this] {
      return chosen_preset_ = controlnet_.empty() ? preset_of_model(PaintingStage::refine, model_) : "depth";
    });
  }

  void run(const Arguments& arguments, const CommonOptions& common, Progress& progress) override {
    choose_start();
    job_.dataset = dataset_;
    job_.overwrite = overwrite_;
    job_.preset = arguments.preset_name;
    if (chosen_preset_ == "mini")
      progress.message(fmt::format("preset mini, which {} is for; --preset takes another", model_));
    find_painter(progress);
    const PainterIdentity identity =
        no_diffusion_ ? ReferencePainter().identity() : DiffusionPainter::identity_of(models_, painting_);
    const bool perceptual =
        job_.options.training.loss.lpips != 0 && has_lpips(Lpips::Network::alex, models_folder_);
    RefineResult result;
    if (const auto finished = finished_refinement(job_, identity, perceptual)) {
      result = *finished;
    } else {
      view_.start(job_.run, job_.dataset, common, progress);
      const std::unique_ptr<Backend> backend =
          open_backend(common, no_diffusion_ && !perceptual ? Needs::gaussians : Needs::networks);
      const std::unique_ptr<TargetPainter> painter = make_painter(*backend, progress);
      const std::unique_ptr<Lpips> lpips = perceptual_loss(*backend, progress);
      job_.start_seconds = seconds_since_process_start();
      result = refine(*backend, job_, *painter, lpips.get(), progress);
    }
    progress.end();
    if (result.already_done)
      progress.message("this refinement was finished before; --overwrite starts it anew");
    progress.message(fmt::format("model: {}\nmetrics: {}", result.model.string(), result.metrics.string()));
  }

 private:
  // A run folder is refined in its place, unless -o names another one.
  void choose_start() {
    const std::filesystem::path named = named_;
    require_existing(named, "a run folder with a reconstructed model (eg4d reconstruct)");
    if (iteration_ >= 0) job_.iteration = iteration_;
    const bool is_run = std::filesystem::is_directory(named) && !is_python_model(named);
    if (output_.empty() && !is_run)
      throw UsageError(
          fmt::format("'{}' is no run folder: give -o RUN, where the refined model goes", named.string()));
    job_.run = output_.empty() ? named_ : output_;
    if (output_.empty()) return;
    require_output(job_.run);
    std::error_code none;
    if (!std::filesystem::equivalent(job_.run, named, none)) job_.start = named;
  }

  // Where the weights are and what the prompt is; nothing is read yet.
  void find_painter(Progress& progress) {
    if (no_diffusion_) return;
    if (painting_.prompt.empty()) painting_.prompt = prompt_file_text(job_.run, dataset_of(job_));
    if (painting_.prompt.empty()) progress.message("no --prompt and no prompt.txt: the prompt is empty");
    const bool controlled = painting_.sampling.control_scale > 0 || !controlnet_.empty();
    if (!controlled && !depth_.empty())
      throw UsageError("--depth-model is for a ControlNet: give --preset depth");
    if (model_.empty())
      model_ = controlled ? "sdxl_base" : model_of_preset(PaintingStage::refine, job_.preset);
    // The mini network knows its own autoencoder only.
    if (autoencoder_.empty() && preset_of_model(PaintingStage::refine, model_) == "mini")
      autoencoder_ = "none";
    models_ = DiffusionPainter::find_models(model_, autoencoder_, matting_, models_folder_);
    if (controlled) models_.control = DiffusionPainter::find_control(controlnet_, depth_, models_folder_);
  }

  std::unique_ptr<TargetPainter> make_painter(Backend& backend, Progress& progress) const {
    if (no_diffusion_) return std::make_unique<ReferencePainter>();
    if (models_.control) progress.message(describe(models_));
    if (!models_.matting)
      progress.message("without weights for matting (eg4d models fetch u2net) the background stays as it is");
    progress.begin(1, "reading weights");
    return std::make_unique<DiffusionPainter>(backend, models_, painting_);
  }

  std::string describe(const DiffusionPainter::Models& models) const {
    const ImageToImage::Options how = painting_.made();
    return fmt::format(
        "{} with the ControlNet {} (scale {:g}) on depth maps of {}: {} steps, strength {:g}, guidance {:g}",
        models.network.path.filename().string(), models.control->network.path.filename().string(),
        how.control_scale, models.control->depth.path.filename().string(), how.steps, how.strength,
        how.guidance);
  }

  std::unique_ptr<Lpips> perceptual_loss(Backend& backend, Progress& progress) const {
    if (job_.options.training.loss.lpips == 0) return {};
    std::string missing;
    auto lpips = find_lpips(backend, Lpips::Network::alex, models_folder_, missing,
                            exact_network_type(backend, precision_on(backend, painting_.precision)));
    if (!lpips) progress.message("the loss is L1 + SSIM: " + missing);
    return lpips;
  }

  std::string named_, output_, dataset_, model_, autoencoder_, matting_, controlnet_, depth_, models_folder_,
      chosen_preset_;
  bool no_diffusion_ = false, overwrite_ = false;
  int64_t iteration_ = -1;
  RefineJob job_;
  DiffusionPainterOptions painting_;
  DiffusionPainter::Models models_;
  ViewBeside view_;
  ConfigSchema schema_;
};

}  // namespace

std::unique_ptr<Command> make_refine_command() {
  return std::make_unique<RefineCommand>();
}

}  // namespace eg4d
