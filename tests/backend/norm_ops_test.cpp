// Norms against their definitions, on every instruction set this machine has.

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "backend/backend.h"
#include "support/expect_error.h"
#include "support/neural_ops_fixture.h"

namespace eg4d::test {
namespace {

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

}  // namespace
}  // namespace eg4d::test
