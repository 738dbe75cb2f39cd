#pragma once

#include <functional>
#include <span>
#include <vector>

#include "diffusion/guidance.h"

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

// What one video is painted from. Rows: the unconditional half first, then the conditional one, `frames`
// each.
struct VideoCondition {
  int frames = 0, height = 0, width = 0;  // of the latents
  std::vector<float> context;             // [2·frames, 1 token, context width]
  std::vector<float> concat;              // [2·frames, height, width, 4]
  std::vector<float> vector;              // [2·frames, vector width]
};
// From the conditional half alone: the unconditional context and concat are zeros, the vector is the same.
VideoCondition with_unconditional_half(int frames, int height, int width, const std::vector<float>& context,
                                       const std::vector<float>& concat, const std::vector<float>& vector);

inline constexpr int kLatentChannels = 4;

// One evaluation of the network for both halves of a video, or for the conditional one alone: rows are
// 2·frames or frames.
struct NetworkCall {
  int step = 0;
  int video = 0;                 // index of the video in the run: multi-view runs paint one per frame
  float c_noise = 0;             // for the time step embedding
  std::span<const float> input;  // [rows, height, width, 8]: scaled noisy latents, then concat
  const VideoCondition* condition = nullptr;  // always both halves
  bool conditional_only = false;
};
// Writes the prediction, [rows, height, width, 4].
using VideoNetwork = std::function<void(const NetworkCall& call, std::span<float> prediction)>;

// Euler's method without churn. Latents are [frames, height, width, 4]. Where guidance changes nothing, every
// scale being 1, the unconditional half is not computed.
class EulerSampler {
 public:
  // scales: [frames].
  EulerSampler(const EdmSchedule& schedule, std::vector<float> scales, VideoNetwork network);

  int steps() const { return static_cast<int>(sigmas_.size()) - 1; }
  // Unit noise becomes the first latent: times sqrt(1 + sigma_0²).
  void start(std::span<float> noise) const;
  // Step `step` of video `video`, in place.
  void advance(int step, int video, const VideoCondition& condition, std::span<float> latent);

  // Steps first_step … steps()-1 of all videos, one step of every video before the next step of any: what the
  // network remembers of one video for the next ones (attention injection) is then needed for one step only.
  // The result is that of painting the videos one after the other. after_step(step) is called when all videos
  // have made the step; before_video(step, video) before each network evaluation. Both may throw to stop;
  // either may be empty.
  struct Observer {
    std::function<void(int step, int video)> before_video;
    std::function<void(int step)> after_step;
  };
  void advance_step_major(int first_step, const std::vector<VideoCondition>& conditions,
                          std::vector<std::vector<float>>& latents, const Observer& observer);

  // Of the last advance: the denoised halves [rows, …] and what guidance made of them [frames, …].
  const std::vector<float>& denoised_halves() const { return halves_; }
  const std::vector<float>& denoised() const { return denoised_; }

 private:
  std::vector<float> sigmas_, scales_;
  bool conditional_only_ = false;
  VideoNetwork network_;
  std::vector<float> input_, halves_, denoised_;
};

}  // namespace eg4d
