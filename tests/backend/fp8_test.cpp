// Feed-forward networks with operands of 8 bits, on devices that have them.

#include <gtest/gtest.h>

#include <cmath>
#include <optional>

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

// Rows of numbers and what each is to be multiplied with.
struct Rows {
  Doubles numbers, scales;
};
// The largest of a row is 448.
Rows quantized(Doubles values, int64_t width) {
  Rows rows;
  for (auto row = values.begin(); row != values.end(); row += width) {
    double largest = 0;
    for (auto value = row; value != row + width; ++value) largest = std::max(largest, std::abs(*value));
    rows.scales.push_back(largest > 0 ? largest / 448 : 1);
    for (auto value = row; value != row + width; ++value) *value = eight_bits(*value / rows.scales.back());
  }
  rows.numbers = std::move(values);
  return rows;
}

// To so many bits, of which the first is not kept: f16's 11, bf16's 8.
double rounded(double value, int bits) {
  int exponent = 0;
  const double mantissa = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(mantissa, bits)), exponent - bits);
}
constexpr int kF16Bits = 11, kBf16Bits = 8;

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

  // Without the residual. In 8 bits: rounded where the device does, whose operands are of that type before,
  // and whose sums are f16 before scales and biases are applied.
  Values plain(std::optional<DType> in_eight_bits) const {
    const auto rows_of = [&](Doubles values, int64_t width) {
      if (in_eight_bits) return quantized(std::move(values), width);
      const size_t count = values.size() / static_cast<size_t>(width);
      return Rows{std::move(values), Doubles(count, 1)};
    };
    const auto operand = [&](const Values& values, int64_t width) {
      Doubles all(values.begin(), values.end());
      if (in_eight_bits)
        for (double& value : all) value = rounded(value, *in_eight_bits == DType::f16 ? kF16Bits : kBf16Bits);
      return rows_of(std::move(all), width);
    };
    const auto product = [&](const Rows& x, const Rows& w, int64_t row, int64_t output, int64_t width,
                             const Values& bias) {
      double sum = 0;
      for (int64_t i = 0; i < width; ++i)
        sum += x.numbers[static_cast<size_t>(row * width + i)] *
               w.numbers[static_cast<size_t>(output * width + i)];
      if (in_eight_bits) sum = rounded(sum, kF16Bits);
      return sum * x.scales[static_cast<size_t>(row)] * w.scales[static_cast<size_t>(output)] +
             bias[static_cast<size_t>(output)];
    };
    const Rows a = operand(x, in), w = operand(widen, in), v = operand(narrow, inner);
    Doubles gated(static_cast<size_t>(rows * inner));
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t c = 0; c < inner; ++c)
        gated[static_cast<size_t>(row * inner + c)] =
            product(a, w, row, c, in, widen_bias) * gelu(product(a, w, row, inner + c, in, widen_bias));
    const Rows hidden = rows_of(std::move(gated), inner);
    Values y;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t c = 0; c < out; ++c)
        y.push_back(static_cast<float>(product(hidden, v, row, c, inner, narrow_bias)));
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

// Against the definition with operands rounded in the same places, and against exact operands. What is in the
// last bits of the sums, of which the tensor cores keep some 14, turns a few numbers between the layers by a
// sixteenth.
TEST_P(Fp8, FeedForwardIsThatOfRoundedOperands) {
  if (!backend().has_fp8()) GTEST_SKIP() << "no products of 8 bits on " << current_device().label();
  for (const auto& [rows, in, inner, out] : {std::array<int64_t, 4>{16, 64, 128, 64},
                                             {37, 96, 192, 96},
                                             {300, 320, 1280, 320},
                                             {129, 640, 2560, 640}}) {
    const Network network(rows, in, inner, out);
    const Values exact = network.plain({});
    for (const DType type : {DType::f16, DType::bf16}) {
      const Values y = run(network, type);
      const double to_rounded = relative_error(y, network.plain(type)), to_exact = relative_error(y, exact);
      EXPECT_LE(to_rounded, 1e-2) << in << " in " << name_of(type);
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
  EXPECT_LE(relative_error(run(network, DType::f16), network.plain(DType::f16)), 2e-2);
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
