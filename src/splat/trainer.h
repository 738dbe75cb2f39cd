#pragma once

#include <compare>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "splat/deformation_field.h"
#include "splat/density_control.h"
#include "splat/input_table.h"
#include "splat/model.h"
#include "splat/moments.h"
#include "splat/options.h"
#include "splat/renderer.h"
#include "splat/resizable_tensor.h"
#include "splat/schedule.h"
#include "splat/training_data.h"
#include "splat/training_start.h"
#include "vision/lpips.h"

namespace eg4d {

// Stage II's training loop: one step() is one iteration, as the published code orders it (rates, picture,
// loss, gradients, density control, Adam). All randomness is a function of the seed and the iteration, so
// that a state saved after any iteration continues to the same bits.
//
// An iteration is prepared once and replayed: its operations are recorded for each number of Gaussians and
// each set of picture sizes that come up, and what changes from one to the next (IterationInputs) is worked
// out and uploaded for many iterations at once. Density control stands outside and throws all of that away
// when it changes something.
class Trainer {
 public:
  // `extent`: cameras_extent of the training cameras. `lpips` may be null when loss.lpips is 0. Views and
  // lpips must outlive the trainer.
  Trainer(Backend& backend, const ReconstructOptions& options, const TrainingViews& views,
          const PointCloud& start, double extent, Lpips* lpips = nullptr);

  // Before the first step: the fine stage goes on from the model's Gaussians, and from its field when it has
  // one, whose sizes must be those of the options. Throws Error when they are not.
  void start_from(const Model& model, TrainingStart start);

  bool finished() const;
  // Throws Error when there is no memory for the Gaussians.
  void step();

  Stage stage() const { return stage_; }
  int64_t iteration() const { return iteration_; }  // finished iterations of this stage
  int64_t total_done() const;                       // of both stages
  int64_t total_iterations() const;
  int64_t gaussian_count() const { return gaussians_.count(); }

  // The loss of the last iteration (waits for the device; one small copy).
  struct LossValues {
    double l1 = 0, ssim = 0, psnr = 0, lpips = 0;  // lpips is 0 where it is no part of the loss
  };
  LossValues last_loss() const;

  const Gaussians& gaussians() const { return gaussians_.values; }
  // Null in the coarse stage.
  const DeformationField* active_field() const { return stage_ == Stage::fine ? &field_ : nullptr; }
  const DeformationField& field() const { return field_; }

  // What a model is made of: the parameters, or their running mean once schedule.average_from has passed.
  const Gaussians& model_gaussians() const { return averaged_ > 0 ? mean_gaussians_ : gaussians_.values; }
  const DeformationField& model_field() const { return averaged_ > 0 ? mean_field_ : field_; }

  // What Stage III may go on with (fine stage); the tensors are the trainer's own, not copies.
  NamedMoments color_moments() const;

  // Everything that a later run needs to continue, copied to the host, as one safetensors file. `extra` is
  // kept with it. Throws NotFinite (training_state.h) when a parameter is NaN or infinite.
  PreparedFile prepare_state(const std::string& extra) const;
  // Returns `extra`. Throws Error, and changes nothing, when the file is damaged or does not belong to these
  // options.
  std::string load_state(const std::filesystem::path& path);

 private:
  static constexpr int64_t kPlannedIterations = 100;  // whose inputs are uploaded at once
  static constexpr int64_t kPlannedBackgrounds = 10;  // the same where pictures are uploaded with them
  // What an iteration sees: its pictures, and the sizes they are rendered at.
  struct Plan {
    std::vector<int> views;
    std::vector<RenderSize> sizes;
  };
  // What distinguishes recordings that hold together otherwise.
  struct Kind {
    std::vector<RenderSize> sizes;
    int sh_degree;
    bool statistics;  // density control still collects
    bool importance;  // and measures what Gaussians are worth
    auto operator<=>(const Kind&) const = default;
  };
  // The rows of IterationInputs::rates: the Gaussians' six tensors first.
  enum Rate { kGridRate = 6, kNetworkRate, kBoxRate };

  void check_lpips() const;
  void plan_lpips();
  std::vector<int> divisors() const;
  void begin_stage(Stage stage);
  void fresh_gaussian_gradients();
  void forget_prepared();
  Plan plan_of(int64_t iteration);
  void add_inputs(const Plan& plan, int64_t iteration, std::vector<IterationInputs>& rows) const;
  int64_t planned_iterations() const;
  void draw_backgrounds(std::vector<IterationInputs>& rows);
  const Plan& next_plan();
  void replay_gradients(const Plan& plan);
  void iterate();
  bool measures_importance() const;
  void accumulate_gradients(const Plan& plan, const Kind& kind);
  void accumulate_view(const IterationInputs* row, RenderSize size, const Kind& kind);
  float threshold(float first, float coarse, float after) const;
  void control_density();
  void update_parameters();
  void replay_update();
  void update_mean();

  Adam adam(const Tensor& parameter, const Tensor& gradient, const Moments& moments, int rate) const;
  // One tensor of what a state holds. Its shape is that of `like`, but for the number of Gaussians.
  struct StatePart {
    std::string name;
    Tensor* tensor;
    const Tensor* like;
    bool per_gaussian, parameter;
  };
  std::vector<StatePart> state_parts(Stage stage, bool averaged);

  Backend& backend_;
  const ReconstructOptions options_;
  const TrainingViews& views_;
  const RenderSize largest_;  // of the views
  const double extent_;
  Lpips* const lpips_;
  ViewSchedule schedule_;
  Renderer renderer_;

  Stage stage_ = Stage::coarse;
  int64_t iteration_ = 0;
  TrainedGaussians gaussians_;
  int64_t measured_pictures_ = 0;  // whose sums are in gaussians_.importance
  DeformationField field_;
  Moments grid_moments_, box_moments_, network_moments_;
  Gradients gradients_;
  std::array<bool, 6> replaced_{};  // parameter tensors that density control replaced in this iteration

  int64_t averaged_ = 0;  // parameters in the mean
  Gaussians mean_gaussians_;
  DeformationField mean_field_;

  // What is prepared: the iterations planned and uploaded, of which `taken_` have been made, and recordings.
  InputTable inputs_;
  std::vector<Plan> planned_;
  size_t taken_ = 0;
  std::map<Kind, std::unique_ptr<Recording>> gradient_recordings_;
  std::unique_ptr<Recording> update_recording_;

  std::array<ResizableTensor, 6> gaussian_gradients_;  // the memory of gradients_.gaussians
  ResizableTensor target_, d_image_, errors_;
  std::vector<ResizableTensor> composed_;  // the planned pictures on their backgrounds
  std::optional<Arena> lpips_arena_;
  Tensor losses_;  // [5] f64: the four of ImageLoss, LPIPS
};

}  // namespace eg4d
