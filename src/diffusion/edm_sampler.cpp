#include "diffusion/edm_sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/ramp.h"

namespace eg4d {

std::vector<float> edm_sigmas(const EdmSchedule& schedule) {
  if (schedule.steps < 1)
    throw UsageError(fmt::format("{} sampling steps: at least 1 is needed", schedule.steps));
  const bool distilled = schedule.method == SamplingMethod::lcm;
  if (distilled && schedule.steps > kDistilledLevels)
    throw UsageError(fmt::format("sampler.method lcm makes at most {} steps, of which few are enough, not {}",
                                 kDistilledLevels, schedule.steps));
  const double high = std::pow(schedule.sigma_max, 1 / schedule.rho);
  const float first = static_cast<float>(high);
  const float span = static_cast<float>(std::pow(schedule.sigma_min, 1 / schedule.rho) - high);
  const int levels = distilled ? kDistilledLevels : schedule.steps, stride = levels / schedule.steps;
  const std::vector<float> ramp = linear_ramp(0, 1, levels);
  std::vector<float> sigmas;
  for (int step = 0; step < schedule.steps; ++step)
    sigmas.push_back(
        std::pow(first + ramp[static_cast<size_t>(step * stride)] * span, static_cast<float>(schedule.rho)));
  sigmas.push_back(0);
  return sigmas;
}

EdmScaling v_prediction_scaling(float sigma) {
  const float variance = sigma * sigma + 1;
  const float deviation = std::sqrt(variance);
  return {1 / variance, -sigma / deviation, 1 / deviation, 0.25f * std::log(sigma)};
}

std::vector<EulerCoefficients> euler_coefficients(std::span<const float> sigmas, SamplingMethod method) {
  std::vector<EulerCoefficients> rows;
  for (size_t step = 0; step + 1 < sigmas.size(); ++step) {
    const EdmScaling scaling = v_prediction_scaling(sigmas[step]);
    const float next = method == SamplingMethod::lcm ? 0 : sigmas[step + 1];
    rows.push_back({scaling.c_in, scaling.c_out, scaling.c_skip, scaling.c_noise, sigmas[step], next});
  }
  return rows;
}

namespace {

constexpr int64_t kCoefficients = sizeof(EulerCoefficients) / sizeof(float);

Tensor upload(Backend& backend, const std::vector<EulerCoefficients>& rows) {
  return Tensor::from_bytes(backend, {static_cast<int64_t>(rows.size()), kCoefficients}, DType::f32,
                            rows.data(), rows.size() * sizeof(EulerCoefficients));
}

}  // namespace

EulerSampler::EulerSampler(Backend& backend, const EdmSchedule& schedule, const std::vector<float>& scales,
                           VideoCall& network)
    : backend_(backend),
      network_(network),
      method_(schedule.method),
      sigmas_(edm_sigmas(schedule)),
      frames_(static_cast<int64_t>(scales.size())),
      table_(upload(backend, euler_coefficients(sigmas_, method_))),
      now_(Tensor::zeros(backend, {kCoefficients})) {
  const bool guided = needs_unconditional(scales);
  const int64_t rows = network.input().dim(0);
  if (rows != (guided ? 2 : 1) * frames_)
    throw Error(fmt::format("guidance of {} frames does not fit a network's call of {}", frames_, rows));
  if (guided) scales_ = Tensor::from_host<float>(backend, {frames_}, scales);
}

const EulerCoefficients* EulerSampler::now() const {
  return static_cast<const EulerCoefficients*>(now_.raw());
}

void EulerSampler::start(const Tensor& noise) const {
  backend_.run(ScaledSum{.count = noise.count(),
                         .a = noise.array(),
                         .b = {},
                         .a_scale = std::sqrt(1 + sigmas_[0] * sigmas_[0]),
                         .y = noise.array()});
}

void EulerSampler::select(int step) {
  if (step < 0 || step >= steps()) throw Error(fmt::format("there is no sampling step {}", step));
  const EulerCoefficients* row = static_cast<const EulerCoefficients*>(table_.raw()) + step;
  backend_.run(CopyBytes{now_.raw(), row, sizeof *row});
}

void EulerSampler::run(int step, int video, const Tensor& concat, const Tensor& latent) {
  const Tensor &input = network_.input(), &sinusoids = network_.sinusoids();
  const Shape expected = {frames_, input.dim(1), input.dim(2), kLatentChannels};
  Shape concat_shape = expected;
  concat_shape[0] = concat.dim(0);
  if (latent.shape() != expected || concat.shape() != concat_shape || input.dim(0) % concat.dim(0) != 0)
    throw Error(fmt::format("latents {} and conditions {} do not fit a network's call of {}",
                            to_string(latent.shape()), to_string(concat.shape()), to_string(input.shape())));
  backend_.run(NetworkInput{.rows = input.dim(0),
                            .frames = frames_,
                            .positions = input.dim(1) * input.dim(2),
                            .channels = kLatentChannels,
                            .now = now(),
                            .latent = latent.data(),
                            .concat_rows = concat.dim(0),
                            .concat = concat.data(),
                            .y = input.array()});
  backend_.run(TimestepSinusoids{
      .rows = sinusoids.dim(0), .width = sinusoids.dim(1), .now = now(), .y = sinusoids.data()});
  network_.run(step, video);
  backend_.run(EulerStep{.frames = frames_,
                         .elements = latent.count() / frames_,
                         .now = now(),
                         .prediction = network_.prediction().data(),
                         .scales = scales_.defined() ? scales_.data() : nullptr,
                         .latent = latent.data()});
}

void EulerSampler::advance(int step, int video, const Tensor& concat, const Tensor& latent) {
  select(step);
  run(step, video, concat, latent);
}

bool EulerSampler::wants_noise(int step) const {
  return method_ == SamplingMethod::lcm && step + 1 < steps();
}

void EulerSampler::add_noise(int step, const Tensor& noise, const Tensor& latent) const {
  if (noise.shape() != latent.shape())
    throw Error(fmt::format("noise of {} does not fit latents of {}", to_string(noise.shape()),
                            to_string(latent.shape())));
  backend_.run(ScaledSum{.count = latent.count(),
                         .a = latent.array(),
                         .b = noise.array(),
                         .a_scale = 1,
                         .b_scale = sigmas_.at(static_cast<size_t>(step) + 1),
                         .y = latent.array()});
}

void EulerSampler::advance_step_major(int first_step, const std::vector<Tensor>& concats,
                                      const std::vector<Tensor>& latents, const Observer& observer) {
  const int together = network_.steps_together();
  if (first_step % together != 0 && first_step < steps())
    throw Error(
        fmt::format("sampling cannot begin at step {}: {} steps each belong together", first_step, together));
  for (int begin = first_step; begin < steps(); begin += together) {
    const int end = std::min(begin + together, steps());
    for (size_t index = 0; index < latents.size(); ++index) {
      const int video = static_cast<int>(index);
      for (int step = begin; step < end; ++step) {
        if (observer.before_video) observer.before_video(step, video);
        select(step);
        run(step, video, concats.at(index), latents[index]);
        if (wants_noise(step)) add_noise(step, observer.noise(step, video), latents[index]);
      }
    }
    if (observer.after_step) observer.after_step(end - 1);
  }
}

}  // namespace eg4d
