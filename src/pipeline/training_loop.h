#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/progress.h"
#include "io/background_writer.h"
#include "io/prepared_file.h"
#include "pipeline/phase_clock.h"
#include "pipeline/stage_folder.h"
#include "pipeline/training_log.h"
#include "splat/evaluation.h"
#include "splat/model.h"
#include "splat/moments.h"

namespace eg4d {

// What a TrainingLoop trains: a trainer and the model that it makes.
class TrainingTask {
 public:
  virtual ~TrainingTask() = default;
  virtual void step() = 0;
  virtual int64_t done() const = 0, total() const = 0;  // iterations
  virtual const char* stage() const = 0;                // for the log
  virtual int64_t iteration() const = 0;                // of the stage
  // By which models are numbered: the fine stage's iteration, on which refinement goes on counting; 0: none.
  virtual int64_t model_number() const { return 0; }
  // Of the last iteration, "psnr" among them (waits for the device).
  virtual std::vector<Figure> loss() const = 0;
  // As Trainer::prepare_state and load_state.
  virtual PreparedFile prepare_state(const std::string& extra) = 0;
  virtual std::string load_state(const std::filesystem::path& path) = 0;

  virtual ModelInfo model_info() const = 0;
  virtual const Gaussians& gaussians() const = 0;
  virtual const DeformationField* field() const = 0;  // null: the model stands still
  // What a later stage goes on with, kept beside the best model; empty: nothing.
  virtual NamedMoments moments() const { return {}; }
};

// The loop around a trainer: figures to the log every tenth iteration, evaluations, checkpoints, the best
// model so far, Ctrl-C. Everything it keeps belongs to the last checkpoint: killed at any moment, a later
// call continues from there to the same bits.
//
// Models and checkpoints are copied to the host between two iterations and written beside the next ones. A
// checkpoint waits until the one before is complete, so that host memory holds one of them at most, with its
// best model.
class TrainingLoop {
 public:
  struct Settings {
    const char* label;            // "reconstructing"
    int evaluate_interval;        // iterations of a stage
    int checkpoint_interval = 0;  // iterations; 0: by time only
    double checkpoint_seconds;
    bool keep_best;             // best.safetensors: the moving model with the best PSNR on the test split
    std::vector<int> models{};  // numbers of models that are kept, as numbered_model_name says
  };
  // All must outlive this. `test` may be empty: then there are no evaluations. `phases` goes on with what
  // earlier processes took when this resumes.
  TrainingLoop(Backend& backend, TrainingTask& task, StageFolder& folder, const TrainingViews& test,
               const Settings& settings, Progress& progress, PhaseClock& phases);

  // Loads the checkpoint if there is one. Throws Error when it is damaged or another run's.
  bool resume();

  // Trains to the end. Throws Interrupted after a checkpoint when the user pressed Ctrl-C, and Error when
  // training diverges; then the last good checkpoint and model stay as they were.
  void run();

  // Writes the model as it is now, and the best one (throws the same Error), beside what is done until
  // complete() returns.
  void save_model(const char* file);

  // On the test split; what the last evaluation of the loop found is not computed again.
  EvaluationMetrics evaluate_test();

  // Ends the stage: best.safetensors gets its name, metrics.json is written, the checkpoint is removed.
  struct SplitResult {
    std::string name;
    EvaluationMetrics metrics;
  };
  void complete(const std::string& preset, const std::vector<SplitResult>& splits,
                const std::filesystem::path& dataset);

 private:
  struct Evaluation {
    std::string stage;
    int64_t iteration = 0;
    double psnr = 0, ssim = 0, l1 = 0;
    int64_t gaussians = 0;
  };
  // A copy on the device: writing it is left for the next checkpoint.
  struct Best {
    ModelInfo info;
    Gaussians gaussians;
    DeformationField field;
    NamedMoments moments;
  };

  std::filesystem::path file(const char* name) const { return folder_.path() / name; }
  void log_step();
  Renderer& evaluation_renderer();
  void evaluate_now();
  void keep_numbered_model();
  void warn_of_collapse();
  void save_checkpoint();
  struct BestFiles;
  BestFiles prepare_best();
  void read_extra(const std::string& extra);
  std::string extra();
  static std::string text_of(const Evaluation& evaluation);
  Error diverged(const std::string& what);
  template <class Work>
  auto stopping_at_nonsense(const Work& work);  // NotFinite becomes diverged()
  template <class Work>
  void saying_what_is_kept(const Work& work);  // when there is no memory left for it
  std::vector<Figure> sound_loss();
  double seconds() const;

  Backend& backend_;
  TrainingTask& task_;
  StageFolder& folder_;
  const TrainingViews& test_;
  const Settings settings_;
  Progress& progress_;
  PhaseClock& phases_;
  std::optional<TrainingLog> log_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double shown_psnr_ = 0;                           // smoothed
  std::atomic<int64_t> checkpoint_iteration_ = -1;  // that is complete
  std::optional<Best> unsaved_best_;
  std::optional<EvaluationMetrics> latest_;  // of the model as it is now
  std::optional<Renderer> evaluation_renderer_;
  bool collapse_told_ = false;

  // Kept in the checkpoint.
  std::vector<Evaluation> evaluations_;
  double best_psnr_ = -1;
  int64_t best_iteration_ = 0;  // 0: there is none
  double earlier_seconds_ = 0;

  BackgroundWriter writer_{{}};  // last: what it writes is done before anything else goes
};

}  // namespace eg4d
