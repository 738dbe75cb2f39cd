#include "diffusion/image_euler_sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace eg4d {

std::vector<double> cumulative_alphas(const NoiseSchedule& schedule) {
  const double first = std::sqrt(schedule.beta_start), last = std::sqrt(schedule.beta_end);
  std::vector<double> alphas(static_cast<size_t>(schedule.train_steps));
  double product = 1;
  for (size_t i = 0; i < alphas.size(); ++i) {
    const double fraction =
        alphas.size() > 1 ? static_cast<double>(i) / static_cast<double>(alphas.size() - 1) : 0;
    const double root = first + (last - first) * fraction;
    alphas[i] = product *= 1 - root * root;
  }
  return alphas;
}

namespace {

std::vector<double> evenly_spaced(int train_steps, int steps, EulerKind kind) {
  std::vector<double> timesteps;
  for (int i = 0; i < steps; ++i)
    timesteps.push_back(kind == EulerKind::ancestral
                            ? std::nearbyint(train_steps - i * (static_cast<double>(train_steps) / steps)) - 1
                            : std::min((steps - 1 - i) * (train_steps / steps) + 1, train_steps - 1));
  return timesteps;
}

}  // namespace

ImageEulerSampler::ImageEulerSampler(const NoiseSchedule& schedule, int steps, EulerKind kind) : kind_(kind) {
  if (steps < 1 || steps > schedule.train_steps)
    throw UsageError(fmt::format("{} denoising steps: 1 to {} are possible", steps, schedule.train_steps));
  const std::vector<double> alphas = cumulative_alphas(schedule);
  for (const double timestep : evenly_spaced(schedule.train_steps, steps, kind)) {
    const double alpha = alphas.at(static_cast<size_t>(timestep));
    timesteps_.push_back(static_cast<float>(timestep));
    sigmas_.push_back(static_cast<float>(std::sqrt((1 - alpha) / alpha)));
  }
  sigmas_.push_back(0);
}

int ImageEulerSampler::steps_made(int steps, double strength) {
  if (!(strength > 0 && strength <= 1))
    throw UsageError(fmt::format("a strength of {}: it must be above 0 and at most 1", strength));
  const int made = std::min(static_cast<int>(steps * strength), steps);
  if (made < 1)
    throw UsageError(fmt::format("a strength of {} leaves none of {} denoising steps: give at least {:.4g}",
                                 strength, steps, 1.0 / steps));
  return made;
}

int ImageEulerSampler::first_step(double strength) const {
  return steps() - steps_made(steps(), strength);
}

namespace {

// y += b_scale·b, both roundings as they are written.
void add_scaled(const Tensor& y, float b_scale, const Tensor& b) {
  y.backend().run(ScaledSum{
      .count = y.count(), .a = y.array(), .b = b.array(), .a_scale = 1, .b_scale = b_scale, .y = y.array()});
}

}  // namespace

void ImageEulerSampler::add_noise(int step, const Tensor& noise, const Tensor& latent) const {
  add_scaled(latent, sigmas_.at(static_cast<size_t>(step)), noise);
}

NoisyLatents ImageEulerSampler::network_input(int step, const Tensor& latent) const {
  const float sigma = sigmas_.at(static_cast<size_t>(step));
  return {.count = latent.count(), .latent = latent.data(), .divisor = std::sqrt(sigma * sigma + 1)};
}

void ImageEulerSampler::advance(int step, const Tensor& predicted_noise, const Tensor& noise,
                                const Tensor& latent) const {
  const double from = sigmas_.at(static_cast<size_t>(step)), to = sigmas_.at(static_cast<size_t>(step) + 1);
  const double up = draws_noise() ? std::sqrt(to * to * (from * from - to * to) / (from * from)) : 0;
  const double down = std::sqrt(to * to - up * up);
  // The derivative of x by sigma is (x - (x - sigma·noise))/sigma: the predicted noise itself.
  const Tensor& change = predicted_noise;
  change.backend().run(ScaledSum{.count = change.count(),
                                 .a = change.array(),
                                 .b = {},
                                 .a_scale = static_cast<float>(down - from),
                                 .y = change.array()});
  if (draws_noise()) add_scaled(change, static_cast<float>(up), noise);
  add_scaled(latent, 1, change);
}

}  // namespace eg4d
