#pragma once

#include <cmath>

#include "io/ply.h"
#include "random/random.h"

namespace eg4d::test {

// Gaussians as a trained object has them; harmonics up to `degree`.
inline GaussianCloud random_cloud(int64_t count, int degree, uint64_t seed = 7) {
  Philox random(seed);
  GaussianCloud cloud(count);
  const auto fill = [&](std::vector<float>& values, float mean, float deviation) {
    for (float& value : values) value = mean + deviation * random.normal();
  };
  fill(cloud.positions, 0, 0.4f);
  fill(cloud.sh_dc, 0.3f, 0.6f);
  fill(cloud.sh_rest, 0, 0.15f);
  fill(cloud.opacity_logits, 1, 2);
  fill(cloud.log_scales, -4, 0.7f);
  fill(cloud.quaternions, 0, 1);
  const auto kept = static_cast<size_t>((degree + 1) * (degree + 1) - 1) * 3;
  for (size_t i = 0; i < cloud.sh_rest.size(); ++i)
    if (i % 45 >= kept) cloud.sh_rest[i] = 0;
  return cloud;
}

// For each Gaussian of `cloud`, the nearest one of `read`, which may have another order.
inline std::vector<size_t> matches(const GaussianCloud& cloud, const GaussianCloud& read) {
  std::vector<size_t> nearest(static_cast<size_t>(cloud.count()));
  for (size_t i = 0; i < nearest.size(); ++i) {
    float least = INFINITY;
    for (size_t k = 0; k < static_cast<size_t>(read.count()); ++k) {
      float distance = 0;
      for (size_t axis = 0; axis < 3; ++axis)
        distance += std::pow(cloud.positions[3 * i + axis] - read.positions[3 * k + axis], 2.f);
      if (distance < least) {
        least = distance;
        nearest[i] = k;
      }
    }
  }
  return nearest;
}

// The largest difference of each attribute between a cloud and what became of it.
struct CloudErrors {
  float position = 0, colour = 0, harmonic = 0, opacity = 0, log_scale = 0;
  float rotation = 0;  // 1 - |cosine| between quaternions
};

inline CloudErrors errors_between(const GaussianCloud& cloud, const GaussianCloud& read) {
  CloudErrors errors;
  const std::vector<size_t> match = matches(cloud, read);
  const auto widen = [](float& most, float a, float b) { most = std::max(most, std::abs(a - b)); };
  const auto share = [](float logit) { return 1 / (1 + std::exp(-logit)); };
  for (size_t i = 0; i < match.size(); ++i) {
    const size_t k = match[i];
    for (size_t c = 0; c < 3; ++c) {
      widen(errors.position, cloud.positions[3 * i + c], read.positions[3 * k + c]);
      const auto byte = [](float dc) { return 255 * std::clamp(0.5f + 0.282094792f * dc, 0.f, 1.f); };
      widen(errors.colour, byte(cloud.sh_dc[3 * i + c]), byte(read.sh_dc[3 * k + c]));
      widen(errors.log_scale, cloud.log_scales[3 * i + c], read.log_scales[3 * k + c]);
    }
    for (size_t c = 0; c < 45; ++c)
      widen(errors.harmonic, cloud.sh_rest[45 * i + c], read.sh_rest[45 * k + c]);
    widen(errors.opacity, share(cloud.opacity_logits[i]), share(read.opacity_logits[k]));
    double product = 0, a = 0, b = 0;
    for (size_t c = 0; c < 4; ++c) {
      const double p = cloud.quaternions[4 * i + c], q = read.quaternions[4 * k + c];
      product += p * q;
      a += p * p;
      b += q * q;
    }
    errors.rotation = std::max(errors.rotation, static_cast<float>(1 - std::abs(product) / std::sqrt(a * b)));
  }
  return errors;
}

}  // namespace eg4d::test
