#include "splat/input_table.h"

#include <gtest/gtest.h>

#include <cmath>

#include "splat/resizable_tensor.h"

namespace eg4d {
namespace {

IterationInputs row_of(float time) {
  IterationInputs row;
  row.time = time;
  row.rates[3].step_size = 2 * time;
  return row;
}

IterationInputs read(Backend& backend, const IterationInputs* row) {
  IterationInputs host;
  backend.copy_to_host(&host, row, sizeof(host));
  return host;
}

// A recording finds other rows each time that it is done.
TEST(InputTable, RowsAreTakenOneAfterTheOther) {
  const auto backend = make_cpu_backend({.guard_memory = true});
  InputTable table(*backend, 7, 2);
  table.upload({row_of(0), row_of(1), row_of(2), row_of(3), row_of(4)});
  const auto two = backend->record([&] { backend->run(table.next(2)); });
  for (const float first : {0.0f, 2.0f}) {
    backend->replay(*two);
    for (int64_t k = 0; k < 2; ++k) {
      const IterationInputs now = read(*backend, table.now(k));
      EXPECT_EQ(now.time, first + static_cast<float>(k));
      EXPECT_EQ(now.rates[3].step_size, 2 * now.time);
    }
  }
  backend->run(table.next(1));
  EXPECT_EQ(read(*backend, table.now()).time, 4);
  EXPECT_EQ(read(*backend, table.now(1)).time, 3);  // not touched
  table.upload({row_of(9), row_of(8)});
  backend->replay(*two);
  EXPECT_EQ(read(*backend, table.now()).time, 9);
  backend->run(table.next(0));
  EXPECT_EQ(read(*backend, table.now()).time, 9);
  EXPECT_THROW(table.upload(std::vector<IterationInputs>(8)), std::logic_error);
}

TEST(AdamRate, IsFormedInDoubleAndRoundedOnce) {
  for (const int64_t step : {1, 2, 1000, 36000}) {
    const AdamRate rate = adam_rate(1.6e-3, step);
    EXPECT_EQ(rate.step_size, static_cast<float>(1.6e-3 / (1 - std::pow(0.9, step)))) << step;
    EXPECT_EQ(rate.root_scale, static_cast<float>(1 / std::sqrt(1 - std::pow(0.999, step)))) << step;
  }
}

TEST(ResizableTensor, MovesOnlyWhereItHasNoRoom) {
  const auto backend = make_cpu_backend({.guard_memory = true});
  ResizableTensor tensor;
  EXPECT_FALSE(tensor.resize(*backend, {0, 3}));
  EXPECT_TRUE(tensor.defined());
  EXPECT_TRUE(tensor.resize(*backend, {100, 3}));
  const float* memory = tensor.data();
  EXPECT_FALSE(tensor.resize(*backend, {7, 3}));
  EXPECT_EQ(tensor.tensor().shape(), (Shape{7, 3}));
  EXPECT_EQ(tensor.data(), memory);
  EXPECT_TRUE(tensor.resize(*backend, {101, 3}));
  EXPECT_FALSE(tensor.resize(*backend, {150, 3}));  // half as much again
  EXPECT_TRUE(tensor.resize(*backend, {151, 3}));
}

TEST(Tensor, APartSharesTheMemory) {
  const auto backend = make_cpu_backend({.guard_memory = true});
  Tensor whole = Tensor::from_host<float>(*backend, {6}, std::vector<float>{0, 1, 2, 3, 4, 5});
  Tensor part = whole.part(2, {3, 1});
  EXPECT_EQ(part.to_host(), (std::vector<float>{2, 3, 4}));
  part.fill_zero();
  EXPECT_EQ(whole.to_host(), (std::vector<float>{0, 1, 0, 0, 0, 5}));
  whole = {};
  EXPECT_EQ(part.to_host(), std::vector<float>(3));
  EXPECT_THROW(part.part(1, {3}), std::runtime_error);
  EXPECT_THROW(part.part(-1, {1}), std::runtime_error);
  EXPECT_EQ(part.part(3, {0}).count(), 0);
}

}  // namespace
}  // namespace eg4d
