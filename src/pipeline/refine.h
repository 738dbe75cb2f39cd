#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/config.h"
#include "core/progress.h"
#include "io/image.h"
#include "pipeline/stage_folder.h"
#include "splat/refinement_trainer.h"

namespace eg4d {

class Backend;
class Lpips;

// What a painter's pictures depend on.
struct PainterIdentity {
  std::string weights;  // or what else it paints with
  StageSettings settings = {};
};

// Makes the picture that a view is to show out of what it shows now: the place of the image diffusion prior
// (pipeline/target_painter.h), or of a test double.
class TargetPainter {
 public:
  virtual ~TargetPainter() = default;
  // RGB in, RGB of the same size out; what is no object becomes `background`. A function of its arguments
  // alone: a run that is continued asks again for what it had not yet written down.
  virtual Picture paint(const Picture& reference, size_t view, Background background) = 0;
  // The gradient of score distillation (loss.sds); empty where there is no network for it. A function of its
  // arguments alone, too. Valid as long as this.
  virtual RefinementTrainer::Distiller distiller() { return {}; }
  // Nothing will be asked for in a while: large networks may leave the memory. What is asked for afterwards
  // is answered all the same.
  virtual void release() {}
  virtual PainterIdentity identity() const = 0;
};

struct RefineOptions {
  RefinementOptions training;
  double keep_psnr = 35;  // dB: from there on the render itself is refined, below it the dataset's picture
  int evaluate_interval = 500;

  void bind(ConfigSchema& schema);
};
// paper (published), fast (minutes on two cores), mini (with the mini models), depth (the published variant:
// SDXL held to a depth map by a ControlNet; also for the settings of DiffusionPainterOptions)
const PresetTexts& refine_presets();

// Stage III as a resumable job: a moving model gets refined colours.
struct RefineJob {
  std::filesystem::path run;      // run folder; results go to <run>/refined
  std::filesystem::path dataset;  // empty: the one that the model was trained on, as its records tell
  RefineOptions options;
  std::string preset;            // for the record
  bool overwrite = false;        // start anew although the folder holds results
  bool overwrite_other = false;  // the same where they are of other settings
  double start_seconds = 0;      // what the program took until now, for the record
  // The model, by any name that open_model takes, or another run; empty: the run's.
  std::filesystem::path start = {};
  std::optional<int64_t> iteration = {};  // the model that was saved at this one (ModelChoice)
};

struct RefineResult {
  std::filesystem::path model;    // refined/model.safetensors
  std::filesystem::path metrics;  // refined/metrics.json
  bool resumed = false, already_done = false;
};

// Throws Error that asks for it when the dataset is not known or no longer there.
std::filesystem::path dataset_of(const RefineJob& job);

// Starts from the run's coarse/best.safetensors (coarse/model.safetensors where there is none), or from
// `start`; with carry_moments from the optimiser's state there (best_moments.safetensors beside the model, or
// a checkpoint of the Python EG4D). What a model of another program does not tell (extent, cameras, times) is
// the dataset's. Writes
// refined/{targets/NNNNNN.png,model.safetensors,metrics.json,log.jsonl,events.out.tfevents.*} and, while
// training, checkpoint.safetensors. Killed at any moment, the same call continues and reaches the same bits.
// `lpips` may be null. Throws Interrupted after a checkpoint when the user pressed Ctrl-C; Error when the run
// is not finished or refined/ holds results of other settings; UsageError when loss.sds is above zero and the
// painter cannot distil.
RefineResult refine(Backend& backend, const RefineJob& job, TargetPainter& painter, Lpips* lpips,
                    Progress& progress);

// Throws the Error that refine() would when refined/ holds results of other settings, whatever the model and
// dataset they were made from, which may still have to be made. Nothing is written.
void check_refinement(const RefineJob& job, const PainterIdentity& painter, bool perceptual);

// The refinement, if refine() would find it finished; `painter` is what its identity() would say and
// `perceptual` whether it would have LPIPS. Nothing of the weights is read. Throws Error when refined/ holds
// results of other settings, or another process works there.
std::optional<RefineResult> finished_refinement(const RefineJob& job, const PainterIdentity& painter,
                                                bool perceptual);

}  // namespace eg4d
