#pragma once

// What HexPlaneAdam adds to the gradient of the planes, by itself.

#include <vector>

#include "nn/tensor.h"
#include "support/reference_hexplane.h"

namespace eg4d::test {

// The gradient of the weighted regularisers at `grid`, which stays as it is.
std::vector<float> regularization_gradient(Backend& backend, const HexPlaneLayout& layout, const Tensor& grid,
                                           const RegularizationWeights& weights);

// The unweighted values plane, time and l1 that belong to these gradients.
std::vector<double> regularization_values(Backend& backend, const HexPlaneLayout& layout, const Tensor& grid);

}  // namespace eg4d::test
