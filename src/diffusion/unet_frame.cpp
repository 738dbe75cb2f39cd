#include "diffusion/unet_frame.h"

#include "diffusion/conditioning.h"

namespace eg4d {

void write_sinusoids(const Tensor& sinusoids, std::span<const float> timesteps) {
  std::vector<double> steps(static_cast<size_t>(sinusoids.dim(0)));
  for (size_t i = 0; i < steps.size(); ++i)
    steps[i] = static_cast<double>(timesteps[timesteps.size() == 1 ? 0 : i]);
  const std::vector<float> numbers = sinusoidal_embedding(steps, static_cast<int>(sinusoids.dim(1)));
  Tensor(sinusoids).copy_from_host(numbers.data(), numbers.size() * sizeof(float));
}

Tensor timestep_sinusoids(Backend& backend, std::span<const float> timesteps, int64_t rows, int64_t width) {
  Tensor sinusoids = Tensor::empty(backend, {rows, width});
  write_sinusoids(sinusoids, timesteps);
  return sinusoids;
}

void add_residuals(Session& session, const UNetResiduals& residuals, const UNetEncoded& encoded) {
  const auto add = [&](const Tensor& residual, const Tensor& to) {
    if (residual.shape() != to.shape())
      throw Error(fmt::format("a ControlNet's numbers are {}, the network's {}", to_string(residual.shape()),
                              to_string(to.shape())));
    session.run(ScaledSum{.count = to.count(),
                          .a = to.array(),
                          .b = residual.array(),
                          .a_scale = 1,
                          .b_scale = residuals.scale,
                          .y = to.array()});
  };
  const UNetEncoded& values = residuals.values;
  if (values.skips.size() != encoded.skips.size())
    throw Error(fmt::format("a ControlNet's numbers are for {} blocks, the network has {}",
                            values.skips.size(), encoded.skips.size()));
  for (size_t i = 0; i < values.skips.size(); ++i) add(values.skips[i], encoded.skips[i]);
  add(values.middle, encoded.middle);
}

}  // namespace eg4d
