#pragma once

// The widening product of a feed-forward network with its gate, in one kernel for compute capability 9.0.

#include <cuda_runtime_api.h>

#include "backend/array.h"

namespace eg4d::cuda {

// y[r][c] = v·gelu(g), v = x[r]·w[c] + bias[c], g = x[r]·w[width+c] + bias[width+c], with sums in f32.
struct GatedProduct {
  int64_t rows = 0, in = 0, width = 0;
  ConstArray x = {};            // [rows,in]
  const void* w = nullptr;      // [2·width,in], of x's type
  const float* bias = nullptr;  // [2·width], or null
  Array y = {};                 // [rows,width], of x's type
};
// Sizes that are multiples of its tiles, 16 bits, and a GPU that has the instructions.
bool gated_product_takes(const GatedProduct& a);
void gated_product(const GatedProduct& a, cudaStream_t stream);

// gated_product_short.cu: the same where it is the faster way; false elsewhere.
bool gated_product_short(const GatedProduct& a, int multiprocessors, cudaStream_t stream);

}  // namespace eg4d::cuda
