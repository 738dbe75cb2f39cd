#pragma once

// Linear layers as products and what stands around them.

#include <cuda_runtime_api.h>

#include "backend/cuda/networks/network_weight.h"
#include "backend/cuda/networks/pieces.h"
#include "backend/cuda/networks/products.h"
#include "backend/neural_ops.h"

namespace eg4d::cuda {

// y = activation(x·Wᵀ + b) + residual; of a convolution's weight, x has what lies under the kernel in a row.
struct Layer {
  int64_t rows = 0;
  ConstArray x = {};  // [rows, weight.inputs()]
  const NetworkWeight& weight;
  Activation activation = Activation::none;
  ConstArray residual = {};  // like y, or null; may be y
  Array y = {};
};

// What is left to do where a product wrote no more than x·Wᵀ: y = activation(product + b) + residual.
void finish(const Layer& a, ConstArray product, cudaStream_t stream);

class Layers {
 public:
  Layers(Memory& memory, cudaStream_t stream, Choices& choices);

  void run(const Layer& a, Pieces& pieces);
  void run(const Linear& a, Pieces& pieces);
  void run(const LinearBackward& a, Pieces& pieces);
  void run(const FeedForward& a, Pieces& pieces);
  // y[rows,inputs] = x[rows,out]·W + residual, in f32. Rows of y and residual lie `pitch` numbers apart, and
  // what is between them has no meaning; 0: dense.
  void run_back(int64_t rows, const float* x, const NetworkWeight& weight, const float* residual, float* y,
                int64_t pitch, Pieces& pieces);

  // As run() does, with operands of 8 bits.
  void run_fp8(const FeedForward& a, Pieces& pieces);
  void multiply(const ProductShape& shape, const ProductArrays& arrays, Pieces& pieces);

  // What lies between the two layers of a feed-forward network, at most.
  void set_feed_forward_bytes(size_t bytes) { feed_forward_bytes_ = bytes; }
  void use_gated_product(bool use) { use_gated_product_ = use; }

 private:
  cudaStream_t stream_;
  Products products_;
  size_t feed_forward_bytes_;
  bool use_gated_product_ = true;
};

// x itself, or a copy in that type.
ConstArray in_type(DType type, ConstArray x, int64_t count, Pieces& pieces, cudaStream_t stream);

}  // namespace eg4d::cuda
