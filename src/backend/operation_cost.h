#pragma once

#include <string>

#include "backend/operations.h"

namespace eg4d {

// What an operation must do at least, counted from its sizes.
struct OperationCost {
  double flop =
      0;  // additions and multiplications, of products, convolutions, attention and the deformation network
  double bytes =
      0;  // every array and weight read or written once; rasterising: the arrays per Gaussian and pixel
  std::string shape;  // for people: "217728 × 320 → 2560, f16"
};
OperationCost cost_of(const Operation& operation);

}  // namespace eg4d
