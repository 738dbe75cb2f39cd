// Every network operation against its definition, on every instruction set this machine has.

#include <gtest/gtest.h>

#include <cmath>

#include "backend/backend.h"
#include "core/error.h"
#include "core/threads.h"
#include "nn/tensor.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/random_values.h"

namespace eg4d::test {
namespace {

using Values = std::vector<float>;

Values numbers(int64_t count, uint32_t seed, float spread = 2, float middle = 0) {
  return hash_tensor(seed, static_cast<size_t>(count), spread, middle);
}

double silu(double x) {
  return x / (1 + std::exp(-x));
}
double quick_gelu(double x) {
  return x / (1 + std::exp(-1.702 * x));
}
double gelu(double x) {
  return 0.5 * x * (1 + std::erf(x * std::sqrt(0.5)));
}

double activated(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::silu:
      return silu(x);
    case Activation::gelu:
      return gelu(x);
    case Activation::quick_gelu:
      return quick_gelu(x);
    case Activation::relu:
      return std::max(x, 0.0);
  }
  return 0;
}
constexpr Activation kActivations[] = {Activation::none, Activation::silu, Activation::gelu,
                                       Activation::quick_gelu, Activation::relu};

class NeuralOpsTest : public OnEachDevice {
 protected:
  Tensor device(Shape shape, const Values& values) {
    return Tensor::from_host<float>(*backend, std::move(shape), values);
  }
  Tensor empty(Shape shape) { return Tensor::empty(*backend, std::move(shape)); }
  Backend& ops() { return *backend; }

  std::unique_ptr<Backend> backend = make_test_backend({.guard_memory = true});
};

// ---------------------------------------------------------------- products

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

// ---------------------------------------------------------------- norms

TEST_P(NeuralOpsTest, GroupNorm) {
  struct Case {
    int64_t batch, positions, channels, groups, add_positions;
    float middle;
  };
  for (const Case& c : {Case{2, 15, 32, 32, 5, 0}, Case{1, 300, 96, 32, 100, 0}, Case{3, 7, 20, 4, 7, 0},
                        Case{2, 64, 64, 32, 32, 1000}, Case{1, 1, 32, 32, 1, 0}}) {
    const int64_t count = c.batch * c.positions * c.channels, adds = c.batch * c.positions / c.add_positions;
    const Values x = numbers(count, 1, 2, c.middle), scale = numbers(c.channels, 2),
                 shift = numbers(c.channels, 3);
    const Values add = numbers(adds * c.channels, 4);
    for (const auto& [with_add, activation] :
         {std::pair{false, Activation::silu}, {true, Activation::silu}, {false, Activation::relu}}) {
      const int64_t width = c.channels / c.groups;
      Values expected(x.size());
      const auto at = [&, added = with_add](int64_t position, int64_t channel) {
        return static_cast<double>(x[static_cast<size_t>(position * c.channels + channel)]) +
               (added ? add[static_cast<size_t>(position / c.add_positions * c.channels + channel)] : 0);
      };
      for (int64_t n = 0; n < c.batch; ++n)
        for (int64_t g = 0; g < c.groups; ++g) {
          double sum = 0, square = 0;
          const auto each = [&](auto body) {
            for (int64_t p = n * c.positions; p < (n + 1) * c.positions; ++p)
              for (int64_t k = g * width; k < (g + 1) * width; ++k) body(p, k);
          };
          each([&](int64_t p, int64_t k) { sum += at(p, k); });
          const double mean = sum / static_cast<double>(c.positions * width);
          each([&](int64_t p, int64_t k) { square += (at(p, k) - mean) * (at(p, k) - mean); });
          const double gain = 1 / std::sqrt(square / static_cast<double>(c.positions * width) + 1e-5);
          each([&, activation = activation](int64_t p, int64_t k) {
            expected[static_cast<size_t>(p * c.channels + k)] = static_cast<float>(activated(
                activation,
                (at(p, k) - mean) * gain * scale[static_cast<size_t>(k)] + shift[static_cast<size_t>(k)]));
          });
        }
      const Tensor y = device({count}, x), dadd = device({adds * c.channels}, add);
      const Tensor dscale = device({c.channels}, scale), dshift = device({c.channels}, shift);
      GroupNorm a;
      a.batch = c.batch;
      a.positions = c.positions;
      a.channels = c.channels;
      a.groups = c.groups;
      a.x = a.y = y.data();
      a.scale = dscale.data();
      a.shift = dshift.data();
      a.add = with_add ? dadd.data() : nullptr;
      a.add_positions = c.add_positions;
      a.activation = activation;
      ops().run(a);
      EXPECT_LE(relative_error(y.to_host(), expected), c.middle == 0 ? 1e-5 : 1e-3);  // x itself is rounded
      a.batch = 0;
      ops().run(a);
    }
  }
}

TEST_P(NeuralOpsTest, GroupNormRefusesGroupsOfNoWholeSize) {
  for (const int64_t channels : {1, 31, 48}) {
    const Tensor x = device({2, channels}, numbers(2 * channels, 1)),
                 scale = device({channels}, numbers(channels, 2));
    GroupNorm a;
    a.batch = 1;
    a.positions = 2;
    a.channels = channels;
    a.x = a.y = x.data();
    a.scale = a.shift = scale.data();
    EXPECT_ERROR(ops().run(a), "do not divide into 32 groups");
    EXPECT_ERROR(ops().run(GroupNormBackward{a, x.data(), x.data()}), "do not divide into 32 groups");
    a.groups = 0;
    EXPECT_ERROR(ops().run(a), "into 0 groups");
  }
}

TEST_P(NeuralOpsTest, LayerNorm) {
  const int64_t rows = 12, width = 37, add_rows = 2, rows_per_add = 3;
  const Values x = numbers(rows * width, 1), scale = numbers(width, 2), shift = numbers(width, 3);
  const Values add = numbers(add_rows * width, 4);
  Values expected, sums;
  for (int64_t r = 0; r < rows; ++r) {
    double mean = 0, variance = 0;
    Values row;
    for (int64_t c = 0; c < width; ++c) {
      row.push_back(x[static_cast<size_t>(r * width + c)] +
                    add[static_cast<size_t>(r / rows_per_add % add_rows * width + c)]);
      mean += row.back() / static_cast<double>(width);
    }
    for (const float v : row) variance += (v - mean) * (v - mean) / static_cast<double>(width);
    for (int64_t c = 0; c < width; ++c)
      expected.push_back(static_cast<float>((row[static_cast<size_t>(c)] - mean) /
                                                std::sqrt(variance + 1e-5) * scale[static_cast<size_t>(c)] +
                                            shift[static_cast<size_t>(c)]));
    sums.insert(sums.end(), row.begin(), row.end());
  }
  const Tensor dx = device({rows, width}, x), y = empty({rows, width}), dadd = device({add_rows, width}, add);
  const Tensor dscale = device({width}, scale), dshift = device({width}, shift);
  LayerNorm a;
  a.rows = rows;
  a.width = width;
  a.x = a.sum = dx.data();
  a.scale = dscale.data();
  a.shift = dshift.data();
  a.add = dadd.data();
  a.add_rows = add_rows;
  a.rows_per_add = rows_per_add;
  a.y = y.data();
  ops().run(a);
  EXPECT_LE(relative_error(y.to_host(), expected), 1e-5);
  EXPECT_EQ(dx.to_host(), sums);
  a.rows = 0;
  ops().run(a);
}

// ---------------------------------------------------------------- attention

// q, k, v: [sequences,tokens,heads·head_dim]
Values plain_attention(const Values& q, const Values& k, const Values& v, int64_t sequences, int64_t queries,
                       int64_t keys, int64_t heads, int64_t head_dim, bool causal = false) {
  const int64_t width = heads * head_dim;
  Values y(static_cast<size_t>(sequences * queries * width));
  for (int64_t s = 0; s < sequences; ++s)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < queries; ++i) {
        const int64_t visible = causal ? std::min(i + 1, keys) : keys;
        std::vector<double> weight(static_cast<size_t>(visible));
        double largest = -1e300, sum = 0;
        for (int64_t j = 0; j < visible; ++j) {
          double& score = weight[static_cast<size_t>(j)];
          for (int64_t c = 0; c < head_dim; ++c)
            score +=
                static_cast<double>(q[static_cast<size_t>((s * queries + i) * width + h * head_dim + c)]) *
                k[static_cast<size_t>((s * keys + j) * width + h * head_dim + c)];
          largest = std::max(largest, score /= std::sqrt(static_cast<double>(head_dim)));
        }
        for (double& w : weight) sum += w = std::exp(w - largest);
        for (int64_t c = 0; c < head_dim; ++c) {
          double total = 0;
          for (int64_t j = 0; j < visible; ++j)
            total += weight[static_cast<size_t>(j)] *
                     v[static_cast<size_t>((s * keys + j) * width + h * head_dim + c)];
          y[static_cast<size_t>((s * queries + i) * width + h * head_dim + c)] =
              static_cast<float>(total / sum);
        }
      }
  return y;
}

TEST_P(NeuralOpsTest, AttentionOfPixels) {
  struct Case {
    int64_t sequences, queries, keys, heads, head_dim;
    float spread;
  };
  for (const Case& c : {Case{2, 13, 13, 3, 16, 2}, Case{1, 300, 300, 2, 64, 2}, Case{1, 70, 513, 1, 40, 8},
                        Case{3, 5, 1, 2, 80, 2}, Case{1, 50, 50, 1, 130, 30}, Case{1, 1, 1, 1, 1, 2}}) {
    const int64_t width = c.heads * c.head_dim;
    const Values q = numbers(c.sequences * c.queries * width, 1, c.spread);
    const Values k = numbers(c.sequences * c.keys * width, 2, c.spread),
                 v = numbers(c.sequences * c.keys * width, 3);
    Tensor dq = device({static_cast<int64_t>(q.size())}, q);
    const Tensor dk = device({static_cast<int64_t>(k.size())}, k),
                 dv = device({static_cast<int64_t>(v.size())}, v);
    Attention a;
    a.outer = c.sequences;
    a.heads = c.heads;
    a.head_dim = c.head_dim;
    a.queries = c.queries;
    a.keys = c.keys;
    a.q = {dq.data(), c.queries * width, 0, width};
    a.k = {dk.data(), c.keys * width, 0, width};
    a.v = {dv.data(), c.keys * width, 0, width};
    a.y = dq.data();  // in place of the queries
    a.y_outer_stride = c.queries * width;
    a.y_token_stride = width;
    for (const bool causal : {false, true}) {
      dq.copy_from_host(q.data(), q.size() * sizeof(float));
      a.causal = causal;
      ops().run(a);
      EXPECT_LE(relative_error(dq.to_host(), plain_attention(q, k, v, c.sequences, c.queries, c.keys, c.heads,
                                                             c.head_dim, causal)),
                1e-5)
          << c.queries << " queries of " << c.head_dim << (causal ? ", causal" : "");
    }
    a.outer = 0;
    ops().run(a);
  }
}

// Tokens lie [outer,token,inner,width], as the frames of a video at every pixel do.
TEST_P(NeuralOpsTest, AttentionOfFrames) {
  const int64_t outer = 2, inner = 6, heads = 2, head_dim = 24, width = heads * head_dim;
  for (const int64_t tokens : {1, 5, 21, 60}) {
    const int64_t count = outer * tokens * inner * width;
    const Values q = numbers(count, 1), k = numbers(count, 2), v = numbers(count, 3);
    const auto by_sequence = [&](const Values& x, bool back) {
      Values y(x.size());
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t t = 0; t < tokens; ++t)
          for (int64_t i = 0; i < inner; ++i)
            for (int64_t c = 0; c < width; ++c) {
              const auto here = static_cast<size_t>(((o * tokens + t) * inner + i) * width + c);
              const auto there = static_cast<size_t>(((o * inner + i) * tokens + t) * width + c);
              y[back ? here : there] = x[back ? there : here];
            }
      return y;
    };
    const Values expected =
        by_sequence(plain_attention(by_sequence(q, false), by_sequence(k, false), by_sequence(v, false),
                                    outer * inner, tokens, tokens, heads, head_dim),
                    true);
    const Tensor dq = device({count}, q), dk = device({count}, k), dv = device({count}, v),
                 y = empty({count});
    Attention a;
    a.outer = outer;
    a.inner = inner;
    a.heads = heads;
    a.head_dim = head_dim;
    a.queries = a.keys = tokens;
    a.q = {dq.data(), tokens * inner * width, width, inner * width};
    a.k = a.v = a.q;
    a.k.data = dk.data();
    a.v.data = dv.data();
    a.y = y.data();
    a.y_outer_stride = a.q.outer_stride;
    a.y_inner_stride = a.q.inner_stride;
    a.y_token_stride = a.q.token_stride;
    ops().run(a);
    EXPECT_LE(relative_error(y.to_host(), expected), 1e-5) << tokens;
  }
}

// ---------------------------------------------------------------- element by element

TEST_P(NeuralOpsTest, Elementwise) {
  for (const int64_t count : {0, 1, 5, 16, 37, 70000}) {
    const Values x = numbers(2 * count, 1, 30), z = numbers(count, 2);
    const Tensor dx = device({2 * count}, x), dz = device({count}, z), y = empty({count});
    ops().run(Geglu{.rows = 1, .width = count, .x = dx.data(), .y = y.data()});
    Values expected(static_cast<size_t>(count));
    for (size_t i = 0; i < expected.size(); ++i)
      expected[i] = static_cast<float>(x[i] * gelu(x[i + expected.size()]));
    EXPECT_LE(relative_error(y.to_host(), expected), 1e-6);

    ops().run(ScaledSum{
        .count = count, .a = dx.data(), .b = dz.data(), .a_scale = 0.3f, .b_scale = 0.7f, .y = y.data()});
    for (size_t i = 0; i < expected.size(); ++i) expected[i] = 0.3f * x[i] + 0.7f * z[i];
    EXPECT_LE(relative_error(y.to_host(), expected), 1e-6);
    ops().run(ScaledSum{.count = count, .a = dz.data(), .b = nullptr, .a_scale = 0.5f, .y = dz.data()});
    for (size_t i = 0; i < expected.size(); ++i) expected[i] = 0.5f * z[i];
    EXPECT_EQ(dz.to_host(), expected);

    for (const Activation activation : kActivations) {
      ops().run(Activate{.count = count, .activation = activation, .x = dx.data(), .y = y.data()});
      for (size_t i = 0; i < expected.size(); ++i)
        expected[i] = static_cast<float>(activated(activation, x[i]));
      EXPECT_LE(relative_error(y.to_host(), expected), 1e-6);
    }
  }
}

TEST_P(NeuralOpsTest, ActivationsOfExtremes) {
  const float infinity = std::numeric_limits<float>::infinity();
  const Values x = {0, -0.0f, 1e30f, -1e30f, infinity, std::nanf(""), 80, -80, -100, 100};
  const Tensor dx = device({10}, x), y = empty({10});
  for (const Activation activation : {Activation::silu, Activation::gelu, Activation::quick_gelu}) {
    ops().run(Activate{.count = 10, .activation = activation, .x = dx.data(), .y = y.data()});
    const Values values = y.to_host();
    EXPECT_EQ(values[0], 0);
    EXPECT_EQ(values[2], 1e30f);
    EXPECT_NEAR(values[3], 0, 1e-6);
    EXPECT_EQ(values[4], infinity);
    EXPECT_TRUE(std::isnan(values[5]));
    EXPECT_NEAR(values[8], 0, 1e-6);
    EXPECT_EQ(values[9], 100);
  }
}

TEST_P(NeuralOpsTest, MovingPixels) {
  const Values x = numbers(2 * 3 * 5 * 4, 1);
  const Tensor dx = device({2, 3, 5, 4}, x), up = empty({2, 6, 10, 4});
  ops().run(Upsample{.batch = 2, .height = 3, .width = 5, .channels = 4, .x = dx.data(), .y = up.data()});
  const Values enlarged = up.to_host();
  for (int64_t n = 0; n < 2; ++n)
    for (int64_t r = 0; r < 6; ++r)
      for (int64_t c = 0; c < 10; ++c)
        for (int64_t k = 0; k < 4; ++k)
          EXPECT_EQ(enlarged[static_cast<size_t>(((n * 6 + r) * 10 + c) * 4 + k)],
                    x[static_cast<size_t>(((n * 3 + r / 2) * 5 + c / 2) * 4 + k)]);

  const Tensor cut = empty({2 * 1 * 2, 2 * 2 * 4});
  ops().run(Patches{
      .batch = 2, .height = 3, .width = 5, .channels = 4, .patch = 2, .x = dx.data(), .y = cut.data()});
  const Values pieces = cut.to_host();
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < 16; ++j)
      EXPECT_EQ(pieces[static_cast<size_t>(i * 16 + j)],
                x[static_cast<size_t>(((i / 2 * 3 + j / 8) * 5 + i % 2 * 2 + j / 4 % 2) * 4 + j % 4)]);

  const Tensor rows = Tensor::zeros(*backend, {3, 5});
  const Tensor from = device({2}, {7, 8});
  ops().run(CopyRows{
      .rows = 3, .width = 2, .from = from.data(), .from_pitch = 0, .to = rows.data() + 1, .to_pitch = 5});
  EXPECT_EQ(rows.to_host(), (Values{0, 7, 8, 0, 0, 0, 7, 8, 0, 0, 0, 7, 8, 0, 0}));
}

// ---------------------------------------------------------------- threads

TEST_P(NeuralOpsTest, NumberOfThreadsChangesNothing) {
  EG4D_TEST_OF_THE_PROCESSOR();
  const int64_t n = 3, size = 9, channels = 64, rows = n * size * size;
  const Values x = numbers(rows * channels, 1), w = numbers(channels * channels * 9, 2),
               scale = numbers(channels, 3);
  const Tensor dx = device({n, size, size, channels}, x), dscale = device({channels}, scale);
  const auto dense = ops().pack_linear({.in = channels, .out = channels, .weight = w});
  const auto kernel = ops().pack_convolution(
      {.in = channels, .out = channels, .kernel_height = 3, .kernel_width = 3, .weight = w, .bias = scale});
  std::vector<Values> first;
  for (const int threads : {1, 2, 3, 7}) {
    set_thread_count(threads);
    const Tensor y = empty(dx.shape());
    std::vector<Values> results;
    ops().run(
        Linear{.rows = rows, .x = dx.data(), .weight = dense.get(), .residual = nullptr, .y = y.data()});
    results.push_back(y.to_host());
    Convolution convolution;
    convolution.batch = n;
    convolution.height = convolution.width = size;
    convolution.pad_top = convolution.pad_bottom = convolution.pad_left = convolution.pad_right = 1;
    convolution.x = dx.data();
    convolution.weight = kernel.get();
    convolution.y = y.data();
    ops().run(convolution);
    results.push_back(y.to_host());
    GroupNorm norm;
    norm.batch = 1;
    norm.positions = rows;
    norm.channels = channels;
    norm.x = dx.data();
    norm.scale = norm.shift = dscale.data();
    norm.y = y.data();
    ops().run(norm);
    results.push_back(y.to_host());
    Attention attention;
    attention.outer = n;
    attention.heads = 4;
    attention.head_dim = 16;
    attention.queries = attention.keys = size * size;
    attention.q = attention.k = attention.v = {dx.data(), size * size * channels, 0, channels};
    attention.y = y.data();
    attention.y_outer_stride = size * size * channels;
    attention.y_token_stride = channels;
    ops().run(attention);
    results.push_back(y.to_host());
    if (first.empty()) first = results;
    EXPECT_EQ(results, first) << threads << " threads";
  }
  set_thread_count(0);
}

INSTANTIATE_TEST_SUITE_P(, NeuralOpsTest, testing::ValuesIn(test_devices_by_instruction_set()),
                         DeviceLabel());

}  // namespace
}  // namespace eg4d::test
