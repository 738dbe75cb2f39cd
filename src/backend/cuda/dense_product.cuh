#pragma once

// Matrix products of f32 arrays on the tensor cores, which take tf32: f32 with 10 bits of mantissa. With one
// product of the rounded operands the result is tf32's (relative error about 3e-4); with three, of each
// operand's rounded value and its remainder, it is f32's, for three times the arithmetic.
//
// A block computes 128×128 of the result, a warp 64×32 of it. Operands come through shared memory, 32 deep,
// three such steps in flight (cp.async). Their rows are padded so that the lanes of a fragment are in
// different banks.

#include <cuda_runtime_api.h>

#include <cstdint>

namespace eg4d::cuda {

inline constexpr int kProductTile = 128, kProductDepth = 32, kProductStages = 3, kProductThreads = 256;
inline constexpr size_t kMostProducts = 16;

// C[m,n] = Σ_k A·B and what follows it.
struct Product {
  const float *a = nullptr, *b = nullptr;
  float* c = nullptr;           // [m,n]
  const float* bias = nullptr;  // [n]: max(C + bias, 0)
  float* row_sums = nullptr;    // [m]: Σ_k A
};
// Several products of the same sizes.
struct Products {
  Product product[kMostProducts];
  int count = 0;
  int64_t m = 0, n = 0, k = 0;
  int64_t a_stride = 0, b_stride = 0;  // floats from row to row, as they lie in memory
  // Adds the products up instead: one result, product[0].c.
  bool sum = false;
  // The depth is cut into so many parts, each with a result of its own: part p of product i is at c + p·m·n
  // (and row_sums + p·m).
  int splits = 1;
  const float* mask = nullptr;  // [m,n]: C where mask > 0, else 0
  bool accumulate = false;      // C is added to what is there
};

// How the operands lie: A [m,k] or transposed [k,m]; B [k,n] or transposed [n,k].
enum class ProductForm { kForward, kInputGradient, kWeightGradient };  // A·Bᵀ, A·B, Aᵀ·B

enum class MatrixPrecision;
void launch_products(const Products& products, ProductForm form, MatrixPrecision precision,
                     cudaStream_t stream);

}  // namespace eg4d::cuda
