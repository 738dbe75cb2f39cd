#pragma once

#include <functional>
#include <span>
#include <vector>

#include "backend/sampling_ops.h"
#include "diffusion/guidance.h"
#include "diffusion/video_call.h"

namespace eg4d {

// Karras et al., "Elucidating the design space of diffusion-based generative models" (2022), eq. 5.
struct EdmSchedule {
  int steps = 25;
  double sigma_min = 0.002, sigma_max = 700, rho = 7;
};
std::vector<float> edm_sigmas(const EdmSchedule& schedule);  // [steps+1], falling; the last is 0

// Preconditioning of a network that predicts v, with unit data deviation:
// denoised = c_skip·x + c_out·network(c_in·x, c_noise).
struct EdmScaling {
  float c_skip, c_out, c_in, c_noise;
};
EdmScaling v_prediction_scaling(float sigma);

inline constexpr int kLatentChannels = 4;

// Of every step; to be uploaded as a table.
std::vector<EulerCoefficients> euler_coefficients(std::span<const float> sigmas);

// Euler's method without churn, on the device: the host sees a latent when it asks for it. Latents are
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
  // Step `step` of video `video`, in place.
  void advance(int step, int video, const Tensor& concat, const Tensor& latent);

  // The two halves of advance(): what the operations take for the step's coefficients; and those operations,
  // which allocate nothing, ask the host for nothing and can be recorded where the network's can.
  void select(int step);
  void run(int step, int video, const Tensor& concat, const Tensor& latent);

  // Steps first_step … steps()-1 of all videos, one step of every video before the next step of any: what the
  // network remembers of one video for the next ones (attention injection) is then needed for one step only.
  // The result is that of painting the videos one after the other. after_step(step) is called when all videos
  // have made the step; before_video(step, video) before each network evaluation. Both may throw to stop;
  // either may be empty.
  struct Observer {
    std::function<void(int step, int video)> before_video;
    std::function<void(int step)> after_step;
  };
  void advance_step_major(int first_step, const std::vector<Tensor>& concats,
                          const std::vector<Tensor>& latents, const Observer& observer);

 private:
  const EulerCoefficients* now() const;

  Backend& backend_;
  VideoCall& network_;
  std::vector<float> sigmas_;
  int64_t frames_;
  Tensor scales_;  // not defined where there is no unconditional half
  Tensor table_;   // EulerCoefficients of every step
  Tensor now_;     // the row of the moment
};

}  // namespace eg4d
