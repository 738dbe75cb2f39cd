#pragma once

// The arithmetic of Euler's sampler on the host, number by number: what the operations must give to the bit.

#include <vector>

#include "backend/sampling_ops.h"

namespace eg4d::test {

// [rows,positions,8] of latents [frames,positions,4] and a concat row for every row.
inline std::vector<float> plain_network_input(const std::vector<float>& latent,
                                              const std::vector<float>& concat, float c_in) {
  std::vector<float> input;
  for (size_t pixel = 0; pixel < concat.size() / 4; ++pixel) {
    for (size_t c = 0; c < 4; ++c) input.push_back(latent[(pixel * 4 + c) % latent.size()] * c_in);
    input.insert(input.end(), &concat[pixel * 4], &concat[pixel * 4] + 4);
  }
  return input;
}

// Of every half that there is a prediction of.
inline std::vector<float> plain_denoised(const std::vector<float>& prediction,
                                         const std::vector<float>& latent, const EulerCoefficients& now) {
  std::vector<float> denoised;
  for (size_t i = 0; i < prediction.size(); ++i) {
    const float network = now.c_out * prediction[i], kept = now.c_skip * latent[i % latent.size()];
    denoised.push_back(network + kept);
  }
  return denoised;
}

// The conditional half where there is no other.
inline std::vector<float> plain_guided(const std::vector<float>& halves, const std::vector<float>& scales,
                                       bool conditional_only) {
  if (conditional_only) return halves;
  const size_t count = halves.size() / 2;
  std::vector<float> guided;
  for (size_t i = 0; i < count; ++i) {
    const float change = scales[i / (count / scales.size())] * (halves[count + i] - halves[i]);
    guided.push_back(halves[i] + change);
  }
  return guided;
}

inline void plain_euler_step(const std::vector<float>& denoised, const EulerCoefficients& now,
                             std::vector<float>& latent) {
  for (size_t i = 0; i < latent.size(); ++i) {
    const float derivative = (latent[i] - denoised[i]) / now.sigma;
    const float change = derivative * (now.next - now.sigma);
    latent[i] = latent[i] + change;
  }
}

}  // namespace eg4d::test
