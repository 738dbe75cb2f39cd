#include "backend/cpu/dense_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dense_kernels.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

void add_bias_relu_rows(const float* bias, int64_t rows, int64_t width, float* y) {
  for (int64_t row = 0; row < rows; ++row, y += width) {
    for_lanes(width, [&](auto d, int64_t i) HWY_ATTR {
      const auto sum = hn::Add(hn::LoadU(d, y + i), hn::LoadU(d, bias + i));
      // Not Max: a NaN must stay one.
      hn::StoreU(hn::IfThenZeroElse(hn::Lt(sum, hn::Zero(d)), sum), d, y + i);
    });
  }
}

float dot(const float* a, const float* b, int64_t count) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = hn::Lanes(d);
  auto even = hn::Zero(d), odd = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    even = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), even);
    odd = hn::MulAdd(hn::LoadU(d, a + i + lanes), hn::LoadU(d, b + i + lanes), odd);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

void narrow_forward(const DenseLayer& layer, const float* x, int64_t rows, float* y) {
  for (int64_t row = 0; row < rows; ++row)
    for (int o = 0; o < layer.out; ++o)
      y[row * layer.out + o] =
          layer.bias[o] + dot(x + row * layer.in, layer.weight + int64_t{o} * layer.in, layer.in);
}

void narrow_backward(const DenseLayer& layer, const float* x, const float* d_y, int64_t rows, float* d_x,
                     float* d_weight, float* d_bias) {
  const int64_t in = layer.in;
  for (int64_t row = 0; row < rows; ++row, x += in, d_x += in, d_y += layer.out) {
    for_lanes(in, [&](auto d, int64_t i) HWY_ATTR {
      const auto input = hn::LoadU(d, x + i);
      auto sum = hn::Zero(d);
      for (int o = 0; o < layer.out; ++o) {
        const auto derivative = hn::Set(d, d_y[o]);
        sum = hn::MulAdd(derivative, hn::LoadU(d, layer.weight + o * in + i), sum);
        if (!d_weight) continue;
        float* w = d_weight + o * in + i;
        hn::StoreU(hn::MulAdd(derivative, input, hn::LoadU(d, w)), d, w);
      }
      hn::StoreU(hn::IfThenElseZero(hn::Gt(input, hn::Zero(d)), sum), d, d_x + i);
    });
    for (int o = 0; o < layer.out && d_bias; ++o) d_bias[o] += d_y[o];
  }
}

void relu_mask(const float* activation, int64_t count, float* gradient) {
  for_lanes(count, [&](auto d, int64_t i) HWY_ATTR {
    const auto positive = hn::Gt(hn::LoadU(d, activation + i), hn::Zero(d));
    hn::StoreU(hn::IfThenElseZero(positive, hn::LoadU(d, gradient + i)), d, gradient + i);
  });
}

void column_sums(const float* gradient, int64_t rows, int64_t width, float* sums) {
  for (int64_t row = 0; row < rows; ++row) {
    for_lanes(width, [&](auto d, int64_t i) HWY_ATTR {
      hn::StoreU(hn::Add(hn::LoadU(d, sums + i), hn::LoadU(d, gradient + row * width + i)), d, sums + i);
    });
  }
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(add_bias_relu_rows);
HWY_EXPORT(narrow_forward);
HWY_EXPORT(narrow_backward);
HWY_EXPORT(relu_mask);
HWY_EXPORT(column_sums);

void add_bias_relu(const float* bias, int64_t rows, int64_t width, float* y) {
  HWY_DYNAMIC_DISPATCH(add_bias_relu_rows)(bias, rows, width, y);
}

void narrow_layer_forward(const DenseLayer& layer, const float* x, int64_t rows, float* y) {
  HWY_DYNAMIC_DISPATCH(narrow_forward)(layer, x, rows, y);
}

void narrow_layer_backward(const DenseLayer& layer, const float* x, const float* d_y, int64_t rows,
                           float* d_x, float* d_weight, float* d_bias) {
  HWY_DYNAMIC_DISPATCH(narrow_backward)(layer, x, d_y, rows, d_x, d_weight, d_bias);
}

void relu_backward(const float* activation, int64_t count, float* d) {
  HWY_DYNAMIC_DISPATCH(relu_mask)(activation, count, d);
}

void add_column_sums(const float* d, int64_t rows, int64_t width, float* sums) {
  HWY_DYNAMIC_DISPATCH(column_sums)(d, rows, width, sums);
}

}  // namespace eg4d::cpu
#endif
