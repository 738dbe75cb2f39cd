#pragma once

// What stands between the matrix products of the deformation network. Arrays are dense and row-major.

#include <cstdint>

namespace eg4d::cpu {

// One fully connected layer y = x·Wᵀ + b, weights [out,in].
struct DenseLayer {
  int in = 0, out = 0;
  const float* weight = nullptr;
  const float* bias = nullptr;
};

// y[rows,width] = max(y + bias, 0)
void add_bias_relu(const float* bias, int64_t rows, int64_t width, float* y);

// y[rows,out] = x[rows,in]·Wᵀ + b, for the few outputs of a head, where a matrix product would idle.
void narrow_layer_forward(const DenseLayer& layer, const float* x, int64_t rows, float* y);

// d_x[rows,in] = d_y·W where x > 0 (x is the result of a ReLU), else 0. Adds to d_weight and d_bias unless
// null.
void narrow_layer_backward(const DenseLayer& layer, const float* x, const float* d_y, int64_t rows,
                           float* d_x, float* d_weight, float* d_bias);

// d = activation > 0 ? d : 0
void relu_backward(const float* activation, int64_t count, float* d);

// sums[width] += Σ_rows d
void add_column_sums(const float* d, int64_t rows, int64_t width, float* sums);

}  // namespace eg4d::cpu
