#include "diffusion/unet_frame.h"

#include "diffusion/conditioning.h"

namespace eg4d {

Tensor timestep_sinusoids(Backend& backend, std::span<const float> timesteps, int64_t rows, int64_t width) {
  std::vector<double> steps(static_cast<size_t>(rows));
  for (size_t i = 0; i < steps.size(); ++i)
    steps[i] = static_cast<double>(timesteps[timesteps.size() == 1 ? 0 : i]);
  return Tensor::from_host<float>(backend, {rows, width},
                                  sinusoidal_embedding(steps, static_cast<int>(width)));
}

}  // namespace eg4d
