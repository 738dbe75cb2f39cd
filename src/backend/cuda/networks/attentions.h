#pragma once

// Attention: cuDNN's over many tokens in 16 bits, products for wide heads (an autoencoder's), own kernels for
// the rest.

#include <cuda_runtime_api.h>

#include <compare>
#include <map>
#include <optional>
#include <string>

#include "backend/cuda/networks/cudnn_graph.h"
#include "backend/cuda/networks/layers.h"
#include "backend/neural_ops.h"

namespace eg4d::cuda {

class Attentions {
 public:
  enum class Way : uint8_t { cudnn, tiles, plain };

  Attentions(cudaStream_t stream, Layers& layers);

  void run(const Attention& a, Pieces& pieces);
  void run(const AttentionBackward& a, Pieces& pieces);  // in attention_backward.cpp

  // For benchmarks: the best way to try.
  void prefer(Way way) { way_ = way; }
  std::string engine_of(const Attention& a);

 private:
  struct Shape {
    int64_t sequences, heads, head_dim, queries, keys;
    int64_t q_sequence, q_token, k_sequence, k_token, v_sequence, v_token, y_sequence, y_token;  // strides
    DType type;
    auto operator<=>(const Shape&) const = default;
  };

  // With the scores in memory, for wide heads.
  bool products_take(const Attention& a) const;
  void run_products(const Attention& a, Pieces& pieces);

  const CudnnPlan* plan_for(const Attention& a);
  static CudnnObject operation(const Shape& shape);
  CudnnHandle& handle();

  cudaStream_t stream_;
  Layers& layers_;
  Way way_ = Way::cudnn;
  std::optional<CudnnHandle> handle_;
  std::map<Shape, std::optional<CudnnPlan>> plans_;
};

}  // namespace eg4d::cuda
