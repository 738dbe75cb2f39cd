#pragma once

// Density control on the host, one step after the other as 3D Gaussian splatting (Kerbl et al. 2023,
// section 5.2) has them, by scales and opacities themselves rather than their logarithms and logits.

#include <functional>
#include <vector>

#include "splat/density_control.h"

namespace eg4d::test {

struct HostGaussians {
  using Rows = std::vector<std::vector<float>>;  // a row for every Gaussian
  std::array<Rows, 6> values, first_moments, second_moments;
  Rows gradient_sum, views, max_radii;
  Rows importance;  // empty rows where it is not measured

  size_t count() const { return values[0].size(); }
  std::vector<Rows*> tensors();  // all of them
};
HostGaussians download(const TrainedGaussians& gaussians);

// The axis-th normal number (0…2) of a part (0, 1) of a Gaussian that is split.
using SplitNormal = std::function<float(size_t gaussian, size_t part, size_t axis)>;
// Those of SplitNoise, from the C library's functions.
SplitNormal split_normals(const DensityRules& rules);

void reference_density_control(HostGaussians& gaussians, const DensityRules& rules,
                               const SplitNormal& normal);

// Gaussians of which some are to be cloned, some split and some removed by these rules, and some went astray.
// Their colours and moments are numbers of their own.
TrainedGaussians random_gaussians(Backend& backend, int64_t count, uint64_t seed,
                                  bool measures_importance = false);
DensityRules rules_for_random_gaussians();

}  // namespace eg4d::test
