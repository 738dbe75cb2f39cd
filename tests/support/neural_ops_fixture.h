#pragma once

// What the tests of network operations against their definitions share. The suite is spread over
// tests/backend/{neural_ops,dense_ops,norm_ops,attention}_test.cpp; neural_ops_test.cpp says on which devices
// and instruction sets it runs.

#include <algorithm>
#include <cmath>

#include "backend/neural_ops.h"
#include "support/operation_test.h"

namespace eg4d::test {

inline double silu(double x) {
  return x / (1 + std::exp(-x));
}
inline double quick_gelu(double x) {
  return x / (1 + std::exp(-1.702 * x));
}
inline double gelu(double x) {
  return 0.5 * x * (1 + std::erf(x * std::sqrt(0.5)));
}

inline double activated(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::silu:
      return silu(x);
    case Activation::gelu:
      return gelu(x);
    case Activation::quick_gelu:
      return quick_gelu(x);
    case Activation::relu:
      return std::max(x, 0.0);
  }
  return 0;
}
inline constexpr Activation kActivations[] = {Activation::none, Activation::silu, Activation::gelu,
                                              Activation::quick_gelu, Activation::relu};

class NeuralOpsTest : public OperationTest {
 protected:
  Tensor empty(Shape shape) { return Tensor::empty(*backend, std::move(shape)); }
};

}  // namespace eg4d::test
