#include "splat/gaussian_cloud.h"

#include <algorithm>
#include <cmath>

#include "splat/evaluation.h"

namespace eg4d {
namespace {

constexpr float kSmallestScale = 1e-10f;

std::vector<float> logits(std::vector<float> probabilities) {
  for (float& p : probabilities) {
    const float inside = std::clamp(p, 1e-7f, 1 - 1e-6f);
    p = std::log(inside / (1 - inside));
  }
  return probabilities;
}

void clear_inactive(GaussianCloud& cloud, int degree) {
  const size_t active = static_cast<size_t>((degree + 1) * (degree + 1) - 1) * 3;
  for (size_t row = 0; row < cloud.sh_rest.size(); row += 45) {
    std::fill(cloud.sh_rest.begin() + static_cast<ptrdiff_t>(row + active),
              cloud.sh_rest.begin() + static_cast<ptrdiff_t>(row + 45), 0.0f);
  }
}

// gain_bias: [N,4].
void bake_color(GaussianCloud& cloud, const std::vector<float>& gain_bias) {
  for (size_t i = 0; i < gain_bias.size() / 4; ++i) {
    const float gain = 1 + gain_bias[4 * i];
    for (size_t k = 0; k < 45; ++k) cloud.sh_rest[45 * i + k] *= gain;
    for (size_t c = 0; c < 3; ++c) {
      cloud.sh_dc[3 * i + c] = gain * cloud.sh_dc[3 * i + c] + gain_bias[4 * i + 1 + c] / kSh0;
    }
  }
}

}  // namespace

std::vector<float> logarithms_of_scales(std::vector<float> scales) {
  for (float& scale : scales) scale = std::log(std::max(scale, kSmallestScale));
  return scales;
}

GaussianCloud to_cloud(const Gaussians& gaussians) {
  GaussianCloud cloud;
  if (gaussians.count() == 0) return cloud;
  cloud.positions = gaussians.positions.to_host();
  cloud.sh_dc = gaussians.sh_dc.to_host();
  cloud.sh_rest = gaussians.sh_rest.to_host();
  cloud.opacity_logits = gaussians.opacity_logits.to_host();
  cloud.log_scales = gaussians.log_scales.to_host();
  cloud.quaternions = gaussians.quaternions.to_host();
  return cloud;
}

Gaussians from_cloud(Backend& backend, const GaussianCloud& cloud) {
  Gaussians gaussians = Gaussians::empty(backend, cloud.count());
  const std::vector<float>* values[] = {&cloud.positions,  &cloud.sh_dc,       &cloud.sh_rest,
                                        &cloud.log_scales, &cloud.quaternions, &cloud.opacity_logits};
  const auto tensors = gaussians.tensors();
  for (size_t i = 0; i < tensors.size(); ++i) {
    tensors[i]->copy_from_host(values[i]->data(), values[i]->size() * sizeof(float));
  }
  gaussians.active_sh_degree = 3;
  return gaussians;
}

GaussianCloud cloud_at(Backend& backend, const Model& model, float time) {
  const ReconstructOptions& options = model.info.options;
  Renderer renderer(backend, render_options(options));
  renderer.deform(model.gaussians, model.active_field(), time, color_time(options, time), false);
  GaussianCloud cloud = to_cloud(model.gaussians);
  clear_inactive(cloud, model.gaussians.active_sh_degree);
  cloud.positions = renderer.deformed().means.to_host();
  cloud.log_scales = logarithms_of_scales(renderer.deformed().scales.to_host());
  cloud.quaternions = renderer.deformed().rotations.to_host();
  cloud.opacity_logits = logits(renderer.deformed().opacities.to_host());
  if (model.active_field() && options.deformation.color)
    bake_color(cloud, renderer.deformed().gain_bias.to_host());
  return cloud;
}

}  // namespace eg4d
