#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"
#include "splat/deformation_field.h"

namespace eg4d {

// A tensor of a state dict of the Python EG4D, as floats in host memory.
struct NamedFloats {
  Shape shape;
  std::vector<float> values;
};
using StateDict = std::map<std::string, NamedFloats>;

// The deformation field's sizes as the shapes in a state dict (`deformation.pth`; keys deformation_net.…)
// tell them; the other options keep their values. Throws Error naming the key that is missing or misshapen.
void field_options_from_state(const StateDict& state, ReconstructOptions& options);

// Copies the values; the field must have been made with the options above. Throws Error naming a missing or
// misshapen key.
void load_field_state(DeformationField& field, const StateDict& state);

// The state dict that the Python code loads: also its unused time network (zeros) and frequency buffers.
StateDict field_state(const DeformationField& field);

}  // namespace eg4d
