#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "splat/input_table.h"
#include "splat/model.h"
#include "splat/moments.h"
#include "splat/renderer.h"
#include "splat/resizable_tensor.h"
#include "splat/schedule.h"
#include "splat/training_data.h"
#include "vision/lpips.h"

namespace eg4d {

class ConfigSchema;

// Hyper-parameters of Stage III's training; the defaults are the published ones (preset `paper`).
struct RefinementOptions {
  uint64_t seed = 0;
  int iterations = 15000;
  int last_iteration = 35000;  // counted from the first of Stage II's fine stage; 0: no limit
  bool carry_moments = true;   // Adam goes on with Stage II's moments and step counts
  bool train_network = false;  // the deformation network moves, too (stop_deform = false)

  struct LearningRate {
    float sh_dc = 2.5e-3f;
    float sh_rest_divisor = 20;
    float grid = 1.6e-3f, grid_final = 1.6e-5f;        // × extent; also the box
    float network = 1.6e-4f, network_final = 1.6e-6f;  // × extent; where the network moves
    int steps = 20000;                                 // of the log-linear decay of the grid's rate
    int offset = 4999;                                 // the first iteration's place in that decay
  } rate;

  struct Loss {
    float weight = 0.5f;  // of all the below; the regularisers are not scaled
    float l1 = 1;
    float lpips = 0.1f;           // AlexNet; needs weights
    float dssim = 0;              // 1-SSIM
    float dssim_instead = 0.25f;  // 1-SSIM where LPIPS has no weights
    float sds = 0;                // score distillation; needs the diffusion network in every iteration
    bool clamp = true;            // compare the render clamped to [0,1]; score distillation sees it as it is
  } loss;

  // Score distillation's time steps are drawn evenly from [min_step, max_step), shares of the noise schedule.
  struct Distillation {
    float min_step = 0.02f, max_step = 0.98f;
    float guidance = 0;
    bool sum = false;  // of the gradients of the latents' numbers, instead of their mean
  } sds;

  struct Checkpoint {
    float seconds = 30;  // between two checkpoints
    std::vector<int>
        models{};  // numbers of models that are kept: iterations, counted on from the fine stage's
  } checkpoint;

  void bind(ConfigSchema& schema);
};

// Stage III's training loop: the colours (SH) and the hexplane of a model move towards refined pictures, one
// per training view; positions, scales, rotations, opacities and, without train_network, the network stay as
// they are, bit for bit.
// All randomness is a function of the seed and the iteration: a saved state continues to the same bits. An
// iteration is prepared once and replayed, as Trainer's is; only asking for a view's picture and score
// distillation stand outside.
class RefinementTrainer {
 public:
  // The picture (8-bit RGB [H,W,3], device memory) that a view is to show, asked for once per view and
  // process when the view first comes up; `rendered` [H,W,3] is what the model shows then.
  using TargetSource = std::function<Tensor(size_t view, const Tensor& rendered)>;

  // Adds the gradient of score distillation to d_image; image, d_image: [H,W,3].
  struct DistillationDraw {
    double share;  // of the noise schedule
    uint64_t noise_seed;
    double guidance;
    float weight;
    bool sum = false;
  };
  using Distiller =
      std::function<void(const Tensor& image, const DistillationDraw& draw, const Tensor& d_image)>;

  // `lpips` may be null: then loss.dssim_instead takes its place. `distiller` is called when loss.sds is
  // above zero, and may be empty otherwise. Views, model and lpips must outlive this.
  RefinementTrainer(Backend& backend, const RefinementOptions& options, const TrainingViews& views,
                    Model& model, Lpips* lpips, TargetSource targets, Distiller distiller);

  // Before the first step: Adam's state of the tensors that `moments` names, instead of a fresh one. Throws
  // Error when a shape is not the model's.
  void carry(const NamedMoments& moments);

  void step();
  bool finished() const { return iteration_ >= total_iterations_; }
  int64_t iteration() const { return iteration_; }
  // `iterations`, or what last_iteration leaves of them.
  int64_t total_iterations() const { return total_iterations_; }

  struct LossValues {
    double l1 = 0, psnr = 0;
    double lpips = 0;  // 0 without weights
  };
  LossValues last_loss() const;  // waits for the device; one small copy

  // As Trainer::prepare_state and load_state.
  PreparedFile prepare_state(const std::string& extra) const;
  std::string load_state(const std::filesystem::path& path);

 private:
  struct Trained {
    const char* name;
    Tensor* value;
    Tensor* gradient;
    Moments moments;
  };
  // An iteration of pictures of one size. Score distillation stands between the two recordings.
  struct Prepared {
    std::unique_ptr<Recording> forward, backward;
    Tensor image, d_image;  // [H,W,3]
  };
  size_t view_of(int64_t iteration);
  void forget_prepared();
  void know_target(size_t view);
  void plan_ahead();
  IterationInputs inputs_of(size_t view, int64_t iteration) const;
  const Prepared& prepared(RenderSize size);
  void forward_pass(RenderSize size);
  void measure(const Tensor& image, RenderSize size);
  struct StatePart {
    std::string name;
    Tensor* tensor;
    bool parameter;
  };
  std::vector<StatePart> state_parts();
  DistillationDraw draw_distillation() const;
  void update_parameters();

  Backend& backend_;
  const RefinementOptions options_;
  const TrainingViews& views_;
  const RenderSize largest_;  // of the views
  Model& model_;
  Lpips* lpips_;
  TargetSource targets_;
  Distiller distiller_;
  ViewSchedule schedule_;
  Renderer renderer_;
  const int64_t total_iterations_;
  int64_t iteration_ = 0;
  Gradients gradients_;  // undefined for what is frozen
  std::vector<Trained> trained_;
  std::map<size_t, Tensor> known_targets_;

  // What is prepared: the views of the iterations planned and uploaded, of which `taken_` have been made.
  InputTable inputs_;
  std::vector<size_t> planned_;
  size_t taken_ = 0;
  std::map<RenderSize, Prepared> prepared_;

  ResizableTensor target_, clamped_, d_image_;
  std::optional<Arena> lpips_arena_;
  Tensor losses_;  // [5] f64: the four of ImageLoss, LPIPS
};

}  // namespace eg4d
