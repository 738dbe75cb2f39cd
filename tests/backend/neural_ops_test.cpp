// Network operations element by element against their definitions, on every instruction set this machine has;
// and all of them with any number of threads.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "backend/backend.h"
#include "core/threads.h"
#include "support/neural_ops_fixture.h"

namespace eg4d::test {
namespace {

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
