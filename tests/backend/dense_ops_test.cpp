// Layers and convolutions against their definitions, on every instruction set this machine has.

#include <gtest/gtest.h>

#include <array>
#include <memory>

#include "backend/backend.h"
#include "core/error.h"
#include "support/neural_ops_fixture.h"

namespace eg4d::test {
namespace {

Values plain_linear(const Values& x, const Values& w, const Values& b, int64_t in, int64_t out) {
  Values y;
  for (size_t r = 0; r < x.size() / static_cast<size_t>(in); ++r)
    for (int64_t o = 0; o < out; ++o) {
      double sum = b.empty() ? 0 : b[static_cast<size_t>(o)];
      for (int64_t i = 0; i < in; ++i)
        sum += static_cast<double>(x[r * static_cast<size_t>(in) + static_cast<size_t>(i)]) *
               w[static_cast<size_t>(o * in + i)];
      y.push_back(static_cast<float>(sum));
    }
  return y;
}

TEST_P(NeuralOpsTest, Linear) {
  for (const auto& [rows, in, out] :
       {std::array<int64_t, 3>{1, 1, 1}, {7, 40, 33}, {130, 27, 64}, {3, 100, 4}}) {
    const Values x = numbers(rows * in, 1), w = numbers(out * in, 2), b = numbers(out, 3),
                 r = numbers(rows * out, 4);
    const Tensor dx = device({rows, in}, x), y = device({rows, out}, r), z = empty({rows, out});
    for (const bool bias : {false, true}) {
      const auto packed = ops().pack_linear(
          {.in = in, .out = out, .weight = w, .bias = bias ? StoredWeight(b) : StoredWeight()});
      EXPECT_GE(packed->bytes(), w.size() * sizeof(float));
      const Values plain = plain_linear(x, w, bias ? b : Values(), in, out);
      for (const Activation activation : kActivations) {
        Linear a;
        a.rows = rows;
        a.x = dx.data();
        a.weight = packed.get();
        a.activation = activation;
        a.y = z.data();
        ops().run(a);
        Values expected = plain;
        for (float& v : expected) v = static_cast<float>(activated(activation, v));
        EXPECT_LE(relative_error(z.to_host(), expected), 1e-5);
        a.residual = y.data();
        ops().run(a);
        for (size_t i = 0; i < expected.size(); ++i) expected[i] += r[i];
        EXPECT_LE(relative_error(z.to_host(), expected), 1e-5);
      }
      Linear in_place;
      in_place.rows = rows;
      in_place.x = dx.data();
      in_place.weight = packed.get();
      const Tensor sum = y.clone();
      in_place.residual = in_place.y = sum.data();
      ops().run(in_place);
      Values expected = plain;
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += r[i];
      EXPECT_LE(relative_error(sum.to_host(), expected), 1e-5);
      in_place.rows = 0;
      ops().run(in_place);
    }
  }
}

Values plain_convolution(const Convolution& a, const Values& x, const Values& w, const Values& b, int64_t in,
                         int64_t out, int64_t kh, int64_t kw) {
  const int64_t height = convolution_extent(a.height, kh, a.pad_top, a.pad_bottom, a.stride);
  const int64_t width = convolution_extent(a.width, kw, a.pad_left, a.pad_right, a.stride);
  Values y;
  for (int64_t n = 0; n < a.batch; ++n)
    for (int64_t row = 0; row < height; ++row)
      for (int64_t column = 0; column < width; ++column)
        for (int64_t o = 0; o < out; ++o) {
          double sum = b[static_cast<size_t>(o)];
          for (int64_t i = 0; i < kh; ++i)
            for (int64_t j = 0; j < kw; ++j) {
              const int64_t from_row = row * a.stride + i - a.pad_top,
                            from = column * a.stride + j - a.pad_left;
              if (from_row < 0 || from_row >= a.height || from < 0 || from >= a.width) continue;
              for (int64_t c = 0; c < in; ++c)
                sum += static_cast<double>(
                           x[static_cast<size_t>(((n * a.height + from_row) * a.width + from) * in + c)]) *
                       w[static_cast<size_t>(((o * in + c) * kh + i) * kw + j)];
            }
          y.push_back(static_cast<float>(sum));
        }
  return y;
}

TEST_P(NeuralOpsTest, Convolution) {
  struct Case {
    int64_t batch, height, width, in, out, kh, kw, stride, top, bottom, left, right;
  };
  for (const Case& c :
       {Case{2, 7, 5, 8, 16, 3, 3, 1, 1, 1, 1, 1}, Case{1, 8, 6, 3, 20, 3, 3, 2, 1, 1, 1, 1},
        Case{2, 8, 6, 16, 16, 3, 3, 2, 0, 1, 0, 1}, Case{1, 5, 12, 16, 16, 3, 1, 1, 1, 1, 0, 0},
        Case{1, 1, 4, 16, 16, 3, 1, 1, 1, 1, 0, 0}, Case{3, 1, 1, 4, 4, 3, 3, 1, 1, 1, 1, 1},
        Case{1, 4, 4, 48, 3, 3, 3, 1, 1, 1, 1, 1}}) {
    Convolution a;
    a.batch = c.batch;
    a.height = c.height;
    a.width = c.width;
    a.stride = c.stride;
    a.pad_top = c.top;
    a.pad_bottom = c.bottom;
    a.pad_left = c.left;
    a.pad_right = c.right;
    const Values x = numbers(c.batch * c.height * c.width * c.in, 1), b = numbers(c.out, 2);
    const Values w = numbers(c.out * c.in * c.kh * c.kw, 3);
    Values expected = plain_convolution(a, x, w, b, c.in, c.out, c.kh, c.kw);
    const auto packed = ops().pack_convolution(
        {.in = c.in, .out = c.out, .kernel_height = c.kh, .kernel_width = c.kw, .weight = w, .bias = b});
    const Tensor dx = device({static_cast<int64_t>(x.size())}, x),
                 y = empty({static_cast<int64_t>(expected.size())});
    a.x = dx.data();
    a.weight = packed.get();
    a.y = y.data();
    ops().run(a);
    EXPECT_LE(relative_error(y.to_host(), expected), 1e-5);
    const Values r = numbers(y.count(), 5);
    const Tensor residual = device({y.count()}, r);
    a.residual = residual.data();
    ops().run(a);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += r[i];
    EXPECT_LE(relative_error(y.to_host(), expected), 1e-5);
    a.batch = 0;
    ops().run(a);
  }
}

TEST_P(NeuralOpsTest, RoundedOperands) {
  const int64_t rows = 33, in = 48, out = 20;
  const Values x = numbers(rows * in, 1), w = numbers(in * out, 2);
  std::shared_ptr<const PackedWeight> packed;
  try {
    packed = ops().pack_linear({.in = in,
                                .out = out,
                                .weight = w,
                                .type = {.weights = DType::bf16, .products = NetworkType::Products::half}});
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  const Tensor dx = device({rows, in}, x), y = empty({rows, out});
  ops().run(Linear{.rows = rows, .x = dx.data(), .weight = packed.get(), .residual = nullptr, .y = y.data()});
  const double error = relative_error(y.to_host(), plain_linear(x, w, {}, in, out));
  EXPECT_LE(error, 1e-2);
  EXPECT_GE(error, 1e-5);  // it did round
}

// A layer that meets shapes in turn keeps its weight in the layouts that they want: the bits are those of a
// fresh layer, and the memory does not grow with every turn.
TEST_P(NeuralOpsTest, WeightsServeAlternatingShapes) {
  const int64_t in = 67, out = 130;
  const Values w = numbers(in * out, 1), b = numbers(out, 2);
  const auto make = [&] { return ops().pack_linear({.in = in, .out = out, .weight = w, .bias = b}); };
  const auto multiply = [&](const PackedWeight& weight, int64_t rows) {
    const Tensor x = device({rows, in}, numbers(rows * in, 3)), y = empty({rows, out});
    ops().run(Linear{.rows = rows, .x = x.data(), .weight = &weight, .y = y.data()});
    return y.to_host();
  };
  const auto weight = make();
  const size_t bytes = weight->bytes();
  for (int turn = 0; turn < 4; ++turn)
    for (const int64_t rows : {1, 1024, 3, 64})
      EXPECT_TRUE(same_bits(multiply(*weight, rows), multiply(*make(), rows))) << rows;
  EXPECT_LE(weight->bytes(), 3 * bytes);
}

TEST_P(NeuralOpsTest, ConvolutionWeightsServeAlternatingShapes) {
  const int64_t in = 20, out = 33;
  const Values w = numbers(in * out * 9, 1), b = numbers(out, 2);
  const auto make = [&] {
    return ops().pack_convolution(
        {.in = in, .out = out, .kernel_height = 3, .kernel_width = 3, .weight = w, .bias = b});
  };
  const auto convolve = [&](const PackedWeight& weight, int64_t side, bool backward) {
    const int64_t pixels = side * side;
    const Tensor x = device({pixels, in}, numbers(pixels * in, 3)),
                 y = device({pixels, out}, numbers(pixels * out, 4));
    Convolution a;
    a.batch = 1;
    a.height = a.width = side;
    a.pad_top = a.pad_bottom = a.pad_left = a.pad_right = 1;
    a.x = x.data();
    a.weight = &weight;
    a.y = y.data();
    if (!backward) ops().run(a);
    if (backward) ops().run(ConvolutionBackward{a, y.data(), x.data()});
    return backward ? x.to_host() : y.to_host();
  };
  const auto weight = make();
  const size_t bytes = weight->bytes();
  for (int turn = 0; turn < 3; ++turn)
    for (const int64_t side : {1, 40, 7, 64})
      for (const bool backward : {false, true})
        EXPECT_TRUE(same_bits(convolve(*weight, side, backward), convolve(*make(), side, backward))) << side;
  EXPECT_LE(weight->bytes(), 6 * bytes);
}

}  // namespace
}  // namespace eg4d::test
