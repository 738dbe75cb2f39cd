#pragma once

// The last layers of the deformation network's heads, a few numbers wide, in f32.

#include <cuda_runtime_api.h>

#include <cstdint>

#include "backend/cuda/dense_product.cuh"

namespace eg4d::cuda {

inline constexpr int kMostNarrowOutputs = 8;  // of a head

struct NarrowHead {
  const float *hidden = nullptr, *weight = nullptr, *bias = nullptr;
  float* output = nullptr;
  const float* d_output = nullptr;
  float* d_hidden = nullptr;
  float* parts = nullptr;  // [blocks, out, in + 1] of the weight's gradient, the bias' last
  int out = 0;
};
struct NarrowHeads {
  NarrowHead head[kMostProducts] = {};
  int count = 0;
  int64_t rows = 0;
  int in = 0;
};
void narrow_forward(const NarrowHeads& heads, cudaStream_t stream);   // output
void narrow_backward(const NarrowHeads& heads, cudaStream_t stream);  // d_hidden where hidden > 0, and parts
int64_t narrow_blocks(int64_t rows);                                  // of partial sums

}  // namespace eg4d::cuda
