#pragma once

#include <vector>

#include "backend/sampling_ops.h"
#include "nn/tensor.h"

namespace eg4d {

// The noise that a network for pictures was trained with: variances β from beta_start to beta_end over
// train_steps steps, their square roots evenly spaced (Rombach et al. 2022).
struct NoiseSchedule {
  int train_steps = 1000;
  double beta_start = 0.00085, beta_end = 0.012;
};
// ᾱ_t = Π_{s≤t} (1-β_s), the share of the picture in the variance of what the network saw at step t.
std::vector<double> cumulative_alphas(const NoiseSchedule& schedule);

// Which way is taken from noise to the picture.
enum class EulerKind {
  ancestral,  // fresh noise in every step (k-diffusion's sample_euler_ancestral), time steps counted back
              // from the last one ("trailing"): as SDXL-Turbo wants it
  plain,      // no noise, time steps counted from the first one ("leading"): as SDXL has it
};

// Euler's method (Karras et al. 2022) for networks that predict noise. A latent is x = picture + sigma·noise;
// the network sees x/√(sigma²+1). Latents, noise and predictions are tensors of one shape.
class ImageEulerSampler {
 public:
  // Throws UsageError unless 1 ≤ steps ≤ train_steps.
  ImageEulerSampler(const NoiseSchedule& schedule, int steps, EulerKind kind = EulerKind::ancestral);

  int steps() const { return static_cast<int>(timesteps_.size()); }
  const std::vector<float>& timesteps() const { return timesteps_; }  // 999, 899, … or 901, 801, …
  const std::vector<float>& sigmas() const { return sigmas_; }        // [steps+1], the last is 0

  // Where an existing picture enters: only the last steps_made() are made. Throws as that does.
  int first_step(double strength) const;
  // ⌊steps·strength⌋. Throws UsageError when that is none, or strength is outside (0, 1].
  static int steps_made(int steps, double strength);

  void add_noise(int step, const Tensor& noise, const Tensor& latent) const;
  // What the network is given, but for its place and how often.
  NoisyLatents network_input(int step, const Tensor& latent) const;
  // Does advance() take fresh noise?
  bool draws_noise() const { return kind_ == EulerKind::ancestral; }
  // One step in place, from the network's prediction and fresh noise (not defined where it takes none). The
  // prediction is used up.
  void advance(int step, const Tensor& predicted_noise, const Tensor& noise, const Tensor& latent) const;

 private:
  EulerKind kind_;
  std::vector<float> timesteps_, sigmas_;
};

}  // namespace eg4d
