// The backward passes of linear layers, group norm and attention: against plain definitions in double and
// their finite differences, on every instruction set, for odd sizes and any number of threads.

#include <cmath>

#include "support/device_fixture.h"
#include "support/operation_test.h"

namespace eg4d::test {
namespace {

class NetworkGradients : public OperationTest {
 protected:
  std::shared_ptr<const PackedWeight> linear_weight(int64_t in, int64_t out, const Values& weight) {
    return ops().pack_linear({.in = in, .out = out, .weight = weight});
  }
};

// ---------------------------------------------------------------- linear

TEST_P(NetworkGradients, Linear) {
  for (const auto& [rows, in, out] :
       {std::array<int64_t, 3>{1, 1, 1}, {7, 5, 3}, {9, 64, 48}, {2, 37, 96}, {0, 3, 4}}) {
    const Values x = numbers(rows * in, 1), w = numbers(out * in, 2), d_y = numbers(rows * out, 3),
                 added = numbers(rows * in, 4);
    const auto plain = [&, rows = rows, in = in, out = out](const Doubles& at) {
      Doubles y;
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t o = 0; o < out; ++o) {
          double sum = 0;
          for (int64_t i = 0; i < in; ++i)
            sum += at[static_cast<size_t>(r * in + i)] * w[static_cast<size_t>(o * in + i)];
          y.push_back(sum);
        }
      return y;
    };
    const auto weight = linear_weight(in, out, w);
    const Tensor dx = device({rows, in}, x), ddy = device({rows, out}, d_y), ddx = device({rows, in}, added),
                 y = Tensor::empty(*backend, {rows, out});
    const Linear forward{.rows = rows, .x = dx.data(), .weight = weight.get(), .y = y.data()};
    ops().run(LinearBackward{forward, ddy.data(), ddx.data()});
    expect_added(ddx.to_host(), added, differences(x, d_y, plain), 1e-5);
    // The weight still serves the way forward, and the way back again.
    ops().run(forward);
    EXPECT_LE(relative_error(y.to_host(), floats(plain(Doubles(x.begin(), x.end())))), 1e-5);
    const Tensor again = device({rows, in}, added);
    ops().run(LinearBackward{forward, ddy.data(), again.data()});
    EXPECT_TRUE(same_bits(again.to_host(), ddx.to_host()));
  }
}

// ---------------------------------------------------------------- group norm

struct NormCase {
  int64_t batch, positions, channels, groups;
  bool silu;
  float offset = 0;  // of all x: the mean is large against the deviation
};
const NormCase kNorms[] = {{1, 2, 1, 1, false},     {2, 5, 6, 3, true},      {1, 7, 64, 32, true},
                           {3, 1, 20, 4, false},    {1, 140, 4, 2, true},    {1, 9, 38, 2, false},
                           {1, 12, 8, 2, true, 50}, {2, 3, 33, 11, true, -5}};

Doubles plain_group_norm(const NormCase& c, double epsilon, const Doubles& x, const Values& scale,
                         const Values& shift) {
  Doubles y(x.size());
  const int64_t per_group = c.channels / c.groups;
  for (int64_t n = 0; n < c.batch; ++n)
    for (int64_t g = 0; g < c.groups; ++g) {
      const auto each = [&](const auto& body) {
        for (int64_t p = 0; p < c.positions; ++p)
          for (int64_t k = g * per_group; k < (g + 1) * per_group; ++k)
            body(static_cast<size_t>((n * c.positions + p) * c.channels + k), static_cast<size_t>(k));
      };
      const double count = static_cast<double>(c.positions * per_group);
      double mean = 0, variance = 0;
      each([&](size_t i, size_t) { mean += x[i] / count; });
      each([&](size_t i, size_t) { variance += (x[i] - mean) * (x[i] - mean) / count; });
      each([&](size_t i, size_t k) {
        const double u = (x[i] - mean) / std::sqrt(variance + epsilon) * scale[k] + shift[k];
        y[i] = c.silu ? u / (1 + std::exp(-u)) : u;
      });
    }
  return y;
}

TEST_P(NetworkGradients, GroupNorm) {
  for (const NormCase& c : kNorms) {
    const int64_t count = c.batch * c.positions * c.channels;
    const Values x = hash_tensor(1, static_cast<size_t>(count), 2, c.offset), scale = numbers(c.channels, 2),
                 shift = numbers(c.channels, 3), d_y = numbers(count, 4), added = numbers(count, 5);
    const Tensor dx = device({count}, x), dscale = device({c.channels}, scale),
                 dshift = device({c.channels}, shift), ddy = device({count}, d_y),
                 ddx = device({count}, added);
    GroupNorm forward;
    forward.batch = c.batch;
    forward.positions = c.positions;
    forward.channels = c.channels;
    forward.groups = c.groups;
    forward.epsilon = 1e-3f;
    forward.x = dx.data();
    forward.scale = dscale.data();
    forward.shift = dshift.data();
    forward.activation = c.silu ? Activation::silu : Activation::none;
    ops().run(GroupNormBackward{forward, ddy.data(), ddx.data()});
    const Values gradient = differences(x, d_y, [&](const Doubles& at) {
      return plain_group_norm(c, double{forward.epsilon}, at, scale, shift);
    });
    expect_added(ddx.to_host(), added, gradient, 1e-4);
  }
  ops().run(GroupNormBackward{});
}

// ---------------------------------------------------------------- attention

struct AttentionCase {
  int64_t outer, inner, heads, head_dim, queries, keys;
  bool causal = false;
  int64_t width() const { return heads * head_dim; }
  int64_t query_floats() const { return outer * inner * queries * width(); }
  int64_t key_floats() const { return outer * inner * keys * width(); }
};
const AttentionCase kAttentions[] = {{1, 1, 1, 1, 1, 1},       {1, 1, 1, 5, 7, 7},      {2, 3, 2, 4, 5, 3},
                                     {1, 1, 1, 64, 9, 12},     {1, 1, 1, 2, 260, 3},    {1, 1, 1, 2, 3, 260},
                                     {1, 2, 3, 4, 6, 6, true}, {1, 1, 2, 3, 4, 7, true}};

// x: queries, then keys, then values, each [outer,inner,tokens,width].
Doubles plain_attention(const AttentionCase& c, const Doubles& x) {
  Doubles y(static_cast<size_t>(c.query_floats()));
  const int64_t width = c.width();
  for (int64_t sequence = 0; sequence < c.outer * c.inner; ++sequence)
    for (int64_t head = 0; head < c.heads; ++head)
      for (int64_t query = 0; query < c.queries; ++query) {
        const auto first = static_cast<size_t>((sequence * c.queries + query) * width + head * c.head_dim);
        const int64_t visible = c.causal ? std::min(query + 1, c.keys) : c.keys;
        const auto key_at = [&](int64_t key) {
          return static_cast<size_t>(c.query_floats() + (sequence * c.keys + key) * width +
                                     head * c.head_dim);
        };
        Doubles weights;
        double sum = 0;
        for (int64_t key = 0; key < visible; ++key) {
          double score = 0;
          for (size_t i = 0; i < static_cast<size_t>(c.head_dim); ++i)
            score += x[first + i] * x[key_at(key) + i];
          weights.push_back(std::exp(score / std::sqrt(static_cast<double>(c.head_dim))));
          sum += weights.back();
        }
        for (int64_t key = 0; key < visible; ++key)
          for (size_t i = 0; i < static_cast<size_t>(c.head_dim); ++i)
            y[first + i] += weights[static_cast<size_t>(key)] / sum *
                            x[key_at(key) + static_cast<size_t>(c.key_floats()) + i];
      }
  return y;
}

// Queries, keys and values lie in x as plain_attention takes them, and their gradients likewise in d_x.
AttentionBackward describe(const AttentionCase& c, const Tensor& x, const Tensor& d_y, const Tensor& d_x) {
  AttentionBackward a;
  Attention& f = a.forward;
  f.outer = c.outer;
  f.inner = c.inner;
  f.heads = c.heads;
  f.head_dim = c.head_dim;
  f.queries = c.queries;
  f.keys = c.keys;
  f.causal = c.causal;
  f.q = {x.data(), c.inner * c.queries * c.width(), c.queries * c.width(), c.width()};
  f.k = {x.data() + c.query_floats(), c.inner * c.keys * c.width(), c.keys * c.width(), c.width()};
  f.v = f.k;
  f.v.data = f.v.data.at(c.key_floats());
  f.y_outer_stride = f.q.outer_stride;
  f.y_inner_stride = f.q.inner_stride;
  f.y_token_stride = f.q.token_stride;
  a.d_y = d_y.data();
  a.d_q = d_x.data();
  a.d_k = d_x.data() + c.query_floats();
  a.d_v = a.d_k + c.key_floats();
  return a;
}

TEST_P(NetworkGradients, Attention) {
  for (const AttentionCase& c : kAttentions) {
    const int64_t count = c.query_floats() + 2 * c.key_floats();
    const Values x = numbers(count, 1), d_y = numbers(c.query_floats(), 2), added = numbers(count, 3);
    const Tensor dx = device({count}, x), ddy = device({c.query_floats()}, d_y), ddx = device({count}, added);
    ops().run(describe(c, dx, ddy, ddx));
    const Values gradient = differences(x, d_y, [&](const Doubles& at) { return plain_attention(c, at); });
    expect_added(ddx.to_host(), added, gradient, 1e-5);
  }
}

TEST_P(NetworkGradients, AttentionOfLargeScoresStaysFinite) {
  const AttentionCase c{1, 1, 1, 2, 3, 4};
  Values x = numbers(c.query_floats() + 2 * c.key_floats(), 1);
  for (float& value : x) value *= 1e3f;
  const Tensor dx = device({22}, x), d_y = device({6}, numbers(6, 2)), d_x = Tensor::zeros(*backend, {22});
  ops().run(describe(c, dx, d_y, d_x));
  for (const float value : d_x.to_host()) EXPECT_TRUE(std::isfinite(value));
}

// ---------------------------------------------------------------- threads

TEST_P(NetworkGradients, NumberOfThreadsChangesNothing) {
  EG4D_TEST_OF_THE_PROCESSOR();
  const int64_t rows = 700, width = 64;
  const Tensor x = device({rows, 3 * width}, numbers(rows * 3 * width, 1)),
               d_y = device({rows, width}, numbers(rows * width, 2)),
               scale = device({3 * width}, numbers(3 * width, 3));
  const auto weight = linear_weight(3 * width, width, numbers(3 * width * width, 4));
  EXPECT_TRUE(same_bits_for_any_thread_count([&] {
    const Tensor d_x = Tensor::zeros(*backend, x.shape());
    ops().run(LinearBackward{{.rows = rows, .weight = weight.get()}, d_y.data(), d_x.data()});
    return d_x.to_host();
  }));
  EXPECT_TRUE(same_bits_for_any_thread_count([&] {
    const Tensor d_x = Tensor::zeros(*backend, x.shape());
    GroupNorm norm;
    norm.batch = 2;
    norm.positions = rows / 2;
    norm.channels = 3 * width;
    norm.x = x.data();
    norm.scale = norm.shift = scale.data();
    norm.activation = Activation::silu;
    ops().run(GroupNormBackward{norm, x.data(), d_x.data()});
    return d_x.to_host();
  }));
  // Queries, keys and values side by side, as the autoencoder has them.
  EXPECT_TRUE(same_bits_for_any_thread_count([&] {
    const Tensor d_x = Tensor::zeros(*backend, x.shape());
    AttentionBackward a;
    a.forward.head_dim = width;
    a.forward.queries = a.forward.keys = rows;
    a.forward.q = a.forward.k = a.forward.v = {x.data(), 0, 0, 3 * width};
    a.forward.k.data = a.forward.k.data.at(width);
    a.forward.v.data = a.forward.v.data.at(2 * width);
    a.forward.y_token_stride = width;
    a.d_y = d_y.data();
    a.d_q = d_x.data();
    a.d_k = d_x.data() + width;
    a.d_v = d_x.data() + 2 * width;
    ops().run(a);
    return d_x.to_host();
  }));
}

INSTANTIATE_TEST_SUITE_P(, NetworkGradients, testing::ValuesIn(test_devices_by_instruction_set()),
                         DeviceLabel());

}  // namespace
}  // namespace eg4d::test
