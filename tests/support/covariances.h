#pragma once

// Gaussians given by covariances, for a rasteriser that takes scales and rotations. A covariance is xx, xy,
// xz, yy, yz, zz.

#include <cstdint>
#include <vector>

namespace eg4d::test {

// Σ = R·diag(scale²)·Rᵀ, R of the unit quaternion w,x,y,z.
struct Decomposition {
  std::vector<float> scales, rotations;  // [N,3], [N,4]
};
Decomposition decompose_covariances(const std::vector<float>& covariances);

// The derivatives with respect to scales and quaternions that belong to those with respect to the
// covariances' entries ([N,6]; those off the diagonal stand for two equal ones). The other way round would
// lose digits where scales are alike.
Decomposition covariances_backward(const Decomposition& gaussians, const std::vector<float>& d_covariances);

}  // namespace eg4d::test
