#include "backend/tracing_backend.h"

#include <gtest/gtest.h>

#include "nn/tensor.h"
#include "support/expect_error.h"

namespace eg4d {
namespace {

TEST(OperationCost, CountsWhatAnOperationMustDo) {
  const auto backend = make_cpu_backend();
  const auto linear = backend->pack_linear({.in = 3, .out = 5, .weight = std::vector<float>(15)});
  const std::vector<float> numbers(1000);
  float y[1000];
  const OperationCost product =
      cost_of(Linear{.rows = 7, .x = numbers.data(), .weight = linear.get(), .residual = {}, .y = y});
  EXPECT_EQ(product.flop, 2 * 7 * 3 * 5);
  EXPECT_EQ(product.bytes, static_cast<double>(linear->bytes()) + 4 * (7 * 3 + 7 * 5));
  EXPECT_EQ(product.shape, "7 × 3 → 5, f32");

  const auto kernel = backend->pack_convolution(
      {.in = 2, .out = 4, .kernel_height = 3, .kernel_width = 3, .weight = std::vector<float>(72)});
  Convolution convolution;
  convolution.batch = 2;
  convolution.height = 5;
  convolution.width = 6;
  convolution.stride = 2;
  convolution.pad_top = convolution.pad_bottom = convolution.pad_left = convolution.pad_right = 1;
  convolution.x = numbers.data();
  convolution.y = y;
  convolution.weight = kernel.get();
  EXPECT_EQ(cost_of(convolution).flop, 2 * 2 * (3 * 3) * (2 * 4) * 9);

  // Half the bytes in half the type; what stays between the written columns is read too.
  const CopyRows copy{.rows = 3,
                      .width = 2,
                      .from = {numbers.data(), DType::f16},
                      .from_pitch = 2,
                      .to = {y, DType::f16},
                      .to_pitch = 5};
  EXPECT_EQ(cost_of(copy).bytes, 2 * (6 + 2 * 12));
  EXPECT_EQ(cost_of(FillBytes{y, 0, 100}).bytes, 100);
}

TEST(TracingBackend, SeesRecordedOperationsToo) {
  TracingBackend backend(make_cpu_backend());
  const Tensor x = Tensor::from_host<float>(backend, {4}, std::vector<float>{1, 2, 3, 4});
  const auto recording = backend.record(
      [&] { backend.run(ScaledSum{.count = 4, .a = x.array(), .b = {}, .a_scale = 2, .y = x.array()}); });
  EXPECT_EQ(backend.totals.count("scaled sum"), 0u);
  backend.replay(*recording);
  backend.replay(*recording);
  EXPECT_EQ(x.to_host(), (std::vector<float>{4, 8, 12, 16}));
  EXPECT_EQ(backend.totals.at("scaled sum").calls, 2);
  EXPECT_EQ(backend.totals.at("scaled sum").bytes, 2 * 2 * 4 * 4);
  EXPECT_TRUE(test::contains(backend.table(), "scaled sum"));
  EXPECT_TRUE(test::contains(backend.events_as_json(), R"("name":"scaled sum")"));
}

}  // namespace
}  // namespace eg4d
