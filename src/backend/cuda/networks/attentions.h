#pragma once

// Attention with the scores in memory, by products: of heads wider than the kernels of attention.h are fast
// for (an autoencoder's single head of 512), and backwards. The rest is theirs.

#include <cuda_runtime_api.h>

#include "backend/cuda/networks/layers.h"
#include "backend/cuda/networks/pieces.h"
#include "backend/neural_ops.h"

namespace eg4d::cuda {

class Attentions {
 public:
  Attentions(cudaStream_t stream, Layers& layers) : stream_(stream), layers_(layers) {}

  void run(const Attention& a, Pieces& pieces);
  void run(const AttentionBackward& a, Pieces& pieces);  // in attention_backward.cpp

 private:
  void run_products(const Attention& a, Pieces& pieces);

  cudaStream_t stream_;
  Layers& layers_;
};

}  // namespace eg4d::cuda
