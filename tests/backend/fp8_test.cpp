// Feed-forward networks with operands of 8 bits, on devices that have them.

#include <gtest/gtest.h>

#include <cmath>

#include "nn/network_type.h"
#include "support/expect_error.h"
#include "support/neural_ops_fixture.h"

namespace eg4d::test {
namespace {

// The nearest e4m3, ties to even: steps of 2^-3 of the power of two below, of 2^-9 below 2^-6.
double eight_bits(double value) {
  const double size = std::abs(value);
  const int exponent = std::max(size > 0 ? static_cast<int>(std::floor(std::log2(size))) : -6, -6);
  const double step = std::ldexp(1, exponent - 3);
  return std::copysign(std::min(std::nearbyint(size / step) * step, 448.0), value);
}

// A row with the largest at 448, back at its own scale.
void quantize(double* row, int64_t width) {
  double largest = 0;
  for (int64_t i = 0; i < width; ++i) largest = std::max(largest, std::abs(row[i]));
  if (largest == 0) return;
  for (int64_t i = 0; i < width; ++i) row[i] = eight_bits(row[i] * 448 / largest) * largest / 448;
}
Doubles quantized(Doubles values, int64_t width) {
  for (size_t begin = 0; begin < values.size(); begin += static_cast<size_t>(width))
    quantize(&values[begin], width);
  return values;
}

struct Network {
  int64_t rows, in, inner, out;
  Values x, widen, widen_bias, narrow, narrow_bias, residual;

  Network(int64_t r, int64_t i, int64_t h, int64_t o)
      : rows(r),
        in(i),
        inner(h),
        out(o),
        x(numbers(r * i, 1)),
        widen(numbers(2 * h * i, 2, 3 / std::sqrt(static_cast<float>(i)))),
        widen_bias(numbers(2 * h, 3, 0.5f)),
        narrow(numbers(h * o, 4, 3 / std::sqrt(static_cast<float>(h)))),
        narrow_bias(numbers(o, 5)),
        residual(numbers(r * o, 6)) {
    // Rows of other sizes, as they have in networks.
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t c = 0; c < in; ++c)
        x[static_cast<size_t>(row * in + c)] *= std::exp2(static_cast<float>(row % 9 - 4));
  }

  // Without the residual.
  Values plain(bool in_eight_bits) const {
    const auto operand = [&](const Values& values, int64_t width) {
      Doubles all(values.begin(), values.end());
      return in_eight_bits ? quantized(std::move(all), width) : all;
    };
    const Doubles a = operand(x, in), w = operand(widen, in), v = operand(narrow, inner);
    Doubles hidden(static_cast<size_t>(rows * inner));
    const auto sum = [&](int64_t row, int64_t output) {
      double total = widen_bias[static_cast<size_t>(output)];
      for (int64_t i = 0; i < in; ++i)
        total += a[static_cast<size_t>(row * in + i)] * w[static_cast<size_t>(output * in + i)];
      return total;
    };
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t c = 0; c < inner; ++c)
        hidden[static_cast<size_t>(row * inner + c)] = sum(row, c) * gelu(sum(row, inner + c));
    if (in_eight_bits) hidden = quantized(std::move(hidden), inner);
    Values y;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t c = 0; c < out; ++c) {
        double total = narrow_bias[static_cast<size_t>(c)];
        for (int64_t i = 0; i < inner; ++i)
          total += hidden[static_cast<size_t>(row * inner + i)] * v[static_cast<size_t>(c * inner + i)];
        y.push_back(static_cast<float>(total));
      }
    return y;
  }
};

class Fp8 : public OnEachDevice {
 protected:
  // Of the device, less the residual.
  Values run(const Network& n, DType type) {
    Backend& device = backend();
    NetworkType types{type, type, NetworkType::Products::fp8};
    const auto widen = device.pack_linear(
        {.in = n.in, .out = 2 * n.inner, .weight = n.widen, .bias = n.widen_bias, .type = types});
    const auto narrow = device.pack_linear(
        {.in = n.inner, .out = n.out, .weight = n.narrow, .bias = n.narrow_bias, .type = types});
    const Tensor x = Tensor::from_host(device, {n.rows, n.in}, n.x).converted(type),
                 y = Tensor::zeros(device, {n.rows, n.out}, DType::f32),
                 residual = Tensor::from_host(device, {n.rows, n.out}, n.residual);
    device.run(FeedForward{.rows = n.rows,
                           .inner = n.inner,
                           .x = x.array(),
                           .widen = widen.get(),
                           .narrow = narrow.get(),
                           .residual = residual.array(),
                           .y = y.array()});
    Values result = y.to_host();
    for (size_t i = 0; i < result.size(); ++i) result[i] -= n.residual[i];
    return result;
  }
};
EG4D_ON_EACH_DEVICE(Fp8);

// Against the definition with operands rounded in the same places, and against exact operands. Where the
// device rounds what lies between the layers another way than double precision does, a number changes by a
// sixteenth.
TEST_P(Fp8, FeedForwardIsThatOfRoundedOperands) {
  if (!backend().has_fp8()) GTEST_SKIP() << "no products of 8 bits on " << current_device().label();
  for (const auto& [rows, in, inner, out] : {std::array<int64_t, 4>{16, 64, 128, 64},
                                             {37, 96, 192, 96},
                                             {300, 320, 1280, 320},
                                             {129, 640, 2560, 640}}) {
    const Network network(rows, in, inner, out);
    const Values rounded = network.plain(true), exact = network.plain(false);
    for (const DType type : {DType::f16, DType::bf16}) {
      const Values y = run(network, type);
      const double to_rounded = relative_error(y, rounded), to_exact = relative_error(y, exact);
      EXPECT_LE(to_rounded, type == DType::f16 ? 1e-2 : 3e-2) << in << " in " << name_of(type);
      EXPECT_LE(to_exact, 0.08) << in << " in " << name_of(type);
      EXPECT_GE(to_exact, 0.005) << "that was not computed in 8 bits";
      RecordProperty(std::to_string(in) + " " + name_of(type),
                     std::to_string(to_rounded) + ", to exact " + std::to_string(to_exact));
    }
  }
}

// Rows of zeros, and of numbers so large that a sum of them overflows f16.
TEST_P(Fp8, TakesAnyScale) {
  if (!backend().has_fp8()) GTEST_SKIP() << "no products of 8 bits on " << current_device().label();
  Network network(32, 64, 128, 64);
  for (size_t i = 0; i < 64; ++i) network.x[i] = 0;
  for (size_t i = 64; i < 128; ++i) network.x[i] = 6e4f;
  for (size_t i = 128; i < 192; ++i) network.x[i] *= 1e-3f;
  EXPECT_LE(relative_error(run(network, DType::f16), network.plain(true)), 2e-2);
}

TEST_P(Fp8, IsRefusedWhereItIsNot) {
  if (backend().has_fp8()) {
    EXPECT_ERROR(network_type(backend(), DType::f32, FeedForwardProducts::fp8), "--precision f16 or bf16");
    EXPECT_TRUE(network_type(backend(), DType::f16, FeedForwardProducts::fp8).fp8_feed_forward);
  } else {
    EXPECT_ERROR(network_type(backend(), DType::f32, FeedForwardProducts::fp8), "compute capability 8.9");
    const Values weight = numbers(64, 1);
    EXPECT_THROW(backend().pack_linear({.in = 8,
                                        .out = 8,
                                        .weight = weight,
                                        .type = {DType::f16, DType::f16, NetworkType::Products::fp8}}),
                 Error);
  }
}

}  // namespace
}  // namespace eg4d::test
