#pragma once

// NeuralOps on the CPU: oneDNN for products and convolutions (onednn.cpp), own kernels for the rest
// (neural_kernels.h).

#include <memory>

#include "backend/cpu/memory.h"
#include "backend/neural_ops.h"

namespace eg4d::cpu {

std::unique_ptr<NeuralOps> make_neural_ops(Memory& memory);

}  // namespace eg4d::cpu
