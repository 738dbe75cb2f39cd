#pragma once

#include <functional>
#include <span>
#include <vector>

#include "backend/sampling_ops.h"
#include "diffusion/guidance.h"
#include "diffusion/video_call.h"

namespace eg4d {

// How a step goes on from what the network takes for the latent without noise.
enum class SamplingMethod {
  euler,  // along the probability flow's tangent (Karras et al. 2022, Algorithm 1, without churn)
  lcm,    // to it, and back to the next noise level with new noise (Song et al. 2023, "Consistency models",
          // Algorithm 1): for networks that were distilled to few steps
};

// Karras et al., "Elucidating the design space of diffusion-based generative models" (2022), eq. 5.
struct EdmSchedule {
  int steps = 25;
  double sigma_min = 0.002, sigma_max = 700, rho = 7;
  SamplingMethod method = SamplingMethod::euler;
};
// Noise levels that a network is distilled on for `lcm`: those of so many steps.
inline constexpr int kDistilledLevels = 40;
// [steps+1], falling; the last is 0. For `lcm` every ⌊40/steps⌋th of the distilled levels from the highest
// on, as AnimateLCM takes them. Throws UsageError for no steps, or more than there are levels.
std::vector<float> edm_sigmas(const EdmSchedule& schedule);

// Preconditioning of a network that predicts v, with unit data deviation:
// denoised = c_skip·x + c_out·network(c_in·x, c_noise).
struct EdmScaling {
  float c_skip, c_out, c_in, c_noise;
};
EdmScaling v_prediction_scaling(float sigma);

inline constexpr int kLatentChannels = 4;

// Of every step; to be uploaded as a table. With `lcm` all steps go to a latent without noise.
std::vector<EulerCoefficients> euler_coefficients(std::span<const float> sigmas,
                                                  SamplingMethod method = SamplingMethod::euler);

// The steps of a schedule, on the device: the host sees a latent when it asks for it. Latents are
// [frames, height, width, 4]; concat as in VideoCondition. Where guidance changes nothing, every scale being
// 1, there is no unconditional half.
class EulerSampler {
 public:
  // scales: [frames]. Backend and network must outlive it; Error when the network's rows do not fit the
  // scales.
  EulerSampler(Backend& backend, const EdmSchedule& schedule, const std::vector<float>& scales,
               VideoCall& network);

  int steps() const { return static_cast<int>(sigmas_.size()) - 1; }
  // Unit noise becomes the first latent: times sqrt(1 + sigma_0²).
  void start(const Tensor& noise) const;
  // Step `step` of video `video`, in place. With `lcm`, add_noise() belongs between two steps.
  void advance(int step, int video, const Tensor& concat, const Tensor& latent);
  // Brings what a step of `lcm` made to the next step's noise level. noise: unit noise of the latent's shape.
  void add_noise(int step, const Tensor& noise, const Tensor& latent) const;
  // Does add_noise() follow the step?
  bool wants_noise(int step) const;

  // The two halves of advance(): what the operations take for the step's coefficients; and those operations,
  // which allocate nothing, ask the host for nothing and can be recorded where the network's can.
  void select(int step);
  void run(int step, int video, const Tensor& concat, const Tensor& latent);

  // Steps first_step … steps()-1 of all videos, as many steps of every video as the network takes together
  // (VideoCall::steps_together: usually one) before the next steps of any: what the network remembers of one
  // video for the next ones (attention injection) is then needed for these steps only. The result is that of
  // painting the videos one after the other. after_step(step) is called when all videos have made the step,
  // and those that belong to it; before_video(step, video) before each network evaluation. Both may throw to
  // stop; either may be empty. noise(step, video): what add_noise takes, where wants_noise(step). Error where
  // first_step lies between steps that belong together.
  struct Observer {
    std::function<void(int step, int video)> before_video = {};
    std::function<void(int step)> after_step = {};
    std::function<Tensor(int step, int video)> noise = {};
  };
  void advance_step_major(int first_step, const std::vector<Tensor>& concats,
                          const std::vector<Tensor>& latents, const Observer& observer);

 private:
  const EulerCoefficients* now() const;

  Backend& backend_;
  VideoCall& network_;
  SamplingMethod method_;
  std::vector<float> sigmas_;
  int64_t frames_;
  Tensor scales_;  // not defined where there is no unconditional half
  Tensor table_;   // EulerCoefficients of every step
  Tensor now_;     // the row of the moment
};

}  // namespace eg4d
