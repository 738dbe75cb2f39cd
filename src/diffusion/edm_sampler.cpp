#include "diffusion/edm_sampler.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "core/ramp.h"

namespace eg4d {

std::vector<float> edm_sigmas(const EdmSchedule& schedule) {
  if (schedule.steps < 1)
    throw UsageError(fmt::format("{} sampling steps: at least 1 is needed", schedule.steps));
  const double high = std::pow(schedule.sigma_max, 1 / schedule.rho);
  const float first = static_cast<float>(high);
  const float span = static_cast<float>(std::pow(schedule.sigma_min, 1 / schedule.rho) - high);
  std::vector<float> sigmas = linear_ramp(0, 1, schedule.steps);
  for (float& sigma : sigmas) sigma = std::pow(first + sigma * span, static_cast<float>(schedule.rho));
  sigmas.push_back(0);
  return sigmas;
}

EdmScaling v_prediction_scaling(float sigma) {
  const float variance = sigma * sigma + 1;
  const float deviation = std::sqrt(variance);
  return {1 / variance, -sigma / deviation, 1 / deviation, 0.25f * std::log(sigma)};
}

VideoCondition with_unconditional_half(int frames, int height, int width, const std::vector<float>& context,
                                       const std::vector<float>& concat, const std::vector<float>& vector) {
  VideoCondition both{
      frames, height, width, std::vector<float>(context.size()), std::vector<float>(concat.size()), vector};
  both.context.insert(both.context.end(), context.begin(), context.end());
  both.concat.insert(both.concat.end(), concat.begin(), concat.end());
  both.vector.insert(both.vector.end(), vector.begin(), vector.end());
  return both;
}

EulerSampler::EulerSampler(const EdmSchedule& schedule, std::vector<float> scales, VideoNetwork network)
    : sigmas_(edm_sigmas(schedule)),
      scales_(std::move(scales)),
      conditional_only_(!needs_unconditional(scales_)),
      network_(std::move(network)) {}

void EulerSampler::start(std::span<float> noise) const {
  const float scale = std::sqrt(1 + sigmas_[0] * sigmas_[0]);
  for (float& value : noise) value *= scale;
}

void EulerSampler::advance(int step, int video, const VideoCondition& condition, std::span<float> latent) {
  constexpr size_t channels = kLatentChannels;
  const size_t pixels = latent.size() / channels;  // of one half
  if (latent.size() !=
          static_cast<size_t>(condition.frames) * condition.height * condition.width * channels ||
      scales_.size() != static_cast<size_t>(condition.frames) || condition.concat.size() != 2 * latent.size())
    throw Error(fmt::format("latents of {} numbers do not fit a condition of {}×{}×{}", latent.size(),
                            condition.frames, condition.height, condition.width));
  const float sigma = sigmas_.at(step), next = sigmas_.at(step + 1);
  const EdmScaling scaling = v_prediction_scaling(sigma);

  const size_t halves = conditional_only_ ? 1 : 2;
  const std::span<const float> concat = std::span(condition.concat).last(halves * latent.size());
  input_.resize(2 * halves * latent.size());
  for (size_t row = 0; row < halves * pixels; ++row) {
    for (size_t c = 0; c < channels; ++c) {
      input_[(2 * row) * channels + c] = latent[(row % pixels) * channels + c] * scaling.c_in;
      input_[(2 * row + 1) * channels + c] = concat[row * channels + c];
    }
  }
  halves_.resize(halves * latent.size());
  network_({step, video, scaling.c_noise, input_, &condition, conditional_only_}, halves_);
  for (size_t i = 0; i < halves_.size(); ++i)
    halves_[i] = scaling.c_out * halves_[i] + scaling.c_skip * latent[i % latent.size()];

  if (conditional_only_) {
    denoised_ = halves_;
  } else {
    denoised_.resize(latent.size());
    apply_guidance(halves_, scales_, denoised_);
  }
  for (size_t i = 0; i < latent.size(); ++i) {
    const float derivative = (latent[i] - denoised_[i]) / sigma;
    latent[i] += derivative * (next - sigma);
  }
}

void EulerSampler::advance_step_major(int first_step, const std::vector<VideoCondition>& conditions,
                                      std::vector<std::vector<float>>& latents, const Observer& observer) {
  for (int step = first_step; step < steps(); ++step) {
    for (size_t video = 0; video < latents.size(); ++video) {
      if (observer.before_video) observer.before_video(step, static_cast<int>(video));
      advance(step, static_cast<int>(video), conditions.at(video), latents[video]);
    }
    if (observer.after_step) observer.after_step(step);
  }
}

}  // namespace eg4d
