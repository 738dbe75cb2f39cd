#pragma once

// Matrices of numbers of 8 bits (e4m3: four bits of exponent, three of mantissa, at most 448), every row with
// a scale of its own: value = number·scale. The largest of a row becomes 448. A product of two of them is
// made of the numbers alone, and the scales of both, which are the same for a whole sum, are applied to its
// result.

#include <cuda_runtime_api.h>

#include <cstdint>

#include "backend/array.h"

namespace eg4d::cuda {

struct QuantizedRows {
  uint8_t* numbers = nullptr;  // [rows,width]
  float* scales = nullptr;     // [rows]
};
inline constexpr int64_t kQuantizedMultiple = 16;
bool quantized_rows_take(int64_t width);  // multiples of 16, up to what a block holds

struct QuantizeRows {
  int64_t rows = 0, width = 0;
  ConstArray x = {};  // [rows,width]
  QuantizedRows y = {};
};
void quantize_rows(const QuantizeRows& a, cudaStream_t stream);

// The numbers' product, as f16: sums·product_factor(in), so that they fit whatever they are.
struct NumberProduct {
  const void* sums = nullptr;            // [rows,width] of f16
  const float* row_scales = nullptr;     // [rows]
  const float* weight_scales = nullptr;  // [width]
  const float* bias = nullptr;           // [width], or null
  int64_t in = 0;                        // products in a sum
};
// A power of two.
float product_factor(int64_t in);

// Of [rows, 2·width]: v·gelu(g) of the values v and, behind them, the gates g.
struct GateProduct {
  int64_t rows = 0, width = 0;
  NumberProduct x = {};
  QuantizedRows y = {};  // [rows,width]
};
void gate_product(const GateProduct& a, cudaStream_t stream);

struct FinishProduct {
  int64_t rows = 0, width = 0;
  NumberProduct x = {};
  ConstArray residual = {};  // [rows,width], or null; may be y
  Array y = {};              // [rows,width]
};
void finish_product(const FinishProduct& a, cudaStream_t stream);

}  // namespace eg4d::cuda
