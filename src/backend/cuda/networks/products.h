#pragma once

// Matrix products by cuBLASLt. What it chooses for a shape is kept.

#include <cuda_runtime_api.h>

#include <compare>
#include <map>
#include <memory>

#include "backend/cuda/memory.h"
#include "backend/cuda/networks/choices.h"
#include "backend/cuda/networks/libraries.h"
#include "core/dtype.h"

namespace eg4d::cuda {

// y[rows,out] = x[rows,in]·w[out,in]ᵀ + bias + residual; or, back, y[rows,in] = x[rows,out]·w[out,in] +
// residual. Sums are f32.
struct ProductShape {
  int64_t rows = 0, in = 0, out = 0;
  DType operands = DType::f32;  // of x and w
  bool fp8 = false;  // they are numbers of 8 bits instead, and y is theirs times product_factor(in), f16
  DType result = DType::f32;  // of y and residual: the operands' or f32
  bool tf32 = false;
  enum class Form : uint8_t { forward, back, across } form = Form::forward;
  bool bias = false;  // of y's type
  bool residual = false;
  int64_t x_stride = 0, w_stride = 0, y_stride = 0;  // from row to row, of residual too; 0: dense
  uint32_t x_alignment = 256, w_alignment = 256, y_alignment = 256, residual_alignment = 256;  // bytes
  auto operator<=>(const ProductShape&) const = default;
};
struct ProductArrays {
  const void *x = nullptr, *w = nullptr, *bias = nullptr, *residual = nullptr;
  void* y = nullptr;  // may be the residual
};
class Products {
 public:
  class Plan;

  Products(Memory& memory, cudaStream_t stream, Choices& choices);
  ~Products();
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  // Throws NotOnThisDevice where the library is missing.
  Plan& plan(const ProductShape& shape);
  static size_t workspace_bytes(const Plan& plan);
  void run(Plan& plan, const ProductArrays& arrays, void* workspace);

 private:
  Memory& memory_;
  cudaStream_t stream_;
  Choices& choices_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<ProductShape, std::unique_ptr<Plan>> plans_;
};

}  // namespace eg4d::cuda
