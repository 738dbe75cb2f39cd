#pragma once

// Linear layers and convolutions through oneDNN, whose header only onednn*.cpp see.

#include <memory>

#include "backend/cpu/memory.h"
#include "backend/layer_weights.h"

namespace eg4d::cpu {

class OneDnn {
 public:
  // emulate_half: 16-bit weights are rounded and kept as f32, for operands that are rounded already.
  OneDnn(Memory& memory, bool emulate_half);
  ~OneDnn();

  std::shared_ptr<const PackedWeight> pack_linear(const LinearWeight&);
  std::shared_ptr<const PackedWeight> pack_convolution(const ConvolutionWeight&);
  void linear(const Linear&);
  void linear_backward(const LinearBackward&);
  void convolution(const Convolution&);
  void convolution_backward(const ConvolutionBackward&);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace eg4d::cpu
