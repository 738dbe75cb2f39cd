#include "nn/packed_convolution.h"

namespace eg4d {

ConvolutionLayer packed_convolution(const Loader& loader, const ConvolutionLayer& shape,
                                    const std::vector<float>& weight, const std::vector<float>& bias) {
  ConvolutionLayer layer = shape;
  if (!loader.checking())
    layer.weight = loader.backend().pack_convolution({.in = layer.in,
                                                      .out = layer.out,
                                                      .kernel_height = layer.kernel_height,
                                                      .kernel_width = layer.kernel_width,
                                                      .weight = weight,
                                                      .bias = bias,
                                                      .type = loader.type()});
  return layer;
}

}  // namespace eg4d
