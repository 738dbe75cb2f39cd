#pragma once

#include "backend/stream.h"

namespace eg4d {

// Network layers for the diffusion stages (inference).
class NeuralOps {
 public:
  virtual ~NeuralOps() = default;
};

}  // namespace eg4d
