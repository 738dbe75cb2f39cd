#pragma once

#include <cstdint>

#include "backend/neural_ops.h"
#include "backend/stored_weight.h"

namespace eg4d {

// What a backend packs as a layer's weights (PackedWeight); read before the call returns.
struct LinearWeight {
  int64_t in = 0, out = 0;
  StoredWeight weight = {};  // [out,in]
  StoredWeight bias = {};    // [out] or none
  NetworkType type = {};
};
struct ConvolutionWeight {
  int64_t in = 0, out = 0;
  int64_t kernel_height = 1, kernel_width = 1;
  StoredWeight weight = {};  // [out,in,kernel_height,kernel_width]
  StoredWeight bias = {};    // [out] or none
  NetworkType type = {};
};

}  // namespace eg4d
