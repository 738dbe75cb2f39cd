#pragma once

#include <array>
#include <vector>

#include "io/ply.h"
#include "nn/tensor.h"

namespace eg4d {

// Canonical Gaussians in device memory, as they are optimised.
struct Gaussians {
  Tensor positions;       // [N,3]
  Tensor sh_dc;           // [N,3]
  Tensor sh_rest;         // [N,15,3]
  Tensor log_scales;      // [N,3]
  Tensor quaternions;     // [N,4] w,x,y,z, normalised on use
  Tensor opacity_logits;  // [N]
  int active_sh_degree = 0;

  int64_t count() const { return positions.defined() ? positions.dim(0) : 0; }
  std::array<Tensor*, 6> tensors() {
    return {&positions, &sh_dc, &sh_rest, &log_scales, &quaternions, &opacity_logits};
  }
  std::array<const Tensor*, 6> tensors() const {
    return {&positions, &sh_dc, &sh_rest, &log_scales, &quaternions, &opacity_logits};
  }
  static constexpr std::array<const char*, 6> kNames{"positions",  "sh_dc",       "sh_rest",
                                                     "log_scales", "quaternions", "opacity_logits"};
  static constexpr std::array<int64_t, 6> kWidths{3, 3, 45, 3, 4, 1};  // floats per Gaussian

  static std::array<Shape, 6> shapes(int64_t count);  // of tensors()
  static Gaussians empty(Backend& backend, int64_t count);
  static Gaussians zeros(Backend& backend, int64_t count);
  Gaussians clone() const;
};

// Gaussians at the points: SH dc from the colour, scale = scale_factor · root mean squared distance to the
// three nearest neighbours (floor 1e-7 on the square), identity rotation, the given opacity.
Gaussians gaussians_from_points(Backend& backend, const PointCloud& points, float opacity,
                                float scale_factor);

// Mean squared distance of every point to its three nearest neighbours.
std::vector<float> mean_squared_neighbor_distance(const std::vector<float>& positions);

inline constexpr float kSh0 = 0.28209479177387814f;  // Y_0^0

}  // namespace eg4d
