#pragma once

// What the golden tests of the networks share: weights, and the fixtures' layout (channels second) against
// ours (channels last).

#include <string>

#include "io/safetensors.h"
#include "nn/tensor.h"
#include "nn/weights.h"

namespace eg4d::test {

// Of a golden fixture (fixture_weights).
WeightMap golden_weights(const std::string& fixture);

Tensor as_stored(Backend& backend, const SafetensorsFile& file, const std::string& name);
// [N,C,H,W] → [N,H,W,C]
Tensor channels_last(Backend& backend, const SafetensorsFile& file, const std::string& name);

// A network's values in the order of the fixture's tensor of that shape: [N,H,W,C] to [N,C,H,W]; the rest as
// they are.
std::vector<float> values_like(const Tensor& value, const Shape& shape);

}  // namespace eg4d::test
