#pragma once

#include <vector>

#include "nn/loader.h"

namespace eg4d {

// A layer of values ([out,in,kernel,kernel]; [out], may be empty) that are not stored as a layer's weight and
// bias. Nothing is packed while the loader only checks.
ConvolutionLayer packed_convolution(const Loader& loader, const ConvolutionLayer& shape,
                                    const std::vector<float>& weight, const std::vector<float>& bias = {});

}  // namespace eg4d
