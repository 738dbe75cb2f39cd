#include <gtest/gtest.h>

#include "backend/backend.h"
#include "nn/tensor.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"

namespace eg4d {
namespace {

TEST(GuardedMemory, ReadingADeviceTensorDirectlyCrashes) {
  auto backend = test::make_test_backend({.guard_memory = true});
  const Tensor tensor = Tensor::from_host<float>(*backend, {3}, std::vector<float>{1, 2, 3});
  EXPECT_EQ(tensor.to_host(), (std::vector<float>{1, 2, 3}));
  EXPECT_DEATH(
      {
        volatile float value = *tensor.data();
        (void)value;
      },
      "");
}

EG4D_DEVICE_SUITE(BackendTest);

TEST_P(BackendTest, OutOfMemorySaysHowMuchWasAskedFor) {
  const auto backend = test::make_test_backend({.guard_memory = true});
  EXPECT_ERROR(backend->allocate(size_t{1} << 40), "could not allocate 1048576 MiB");
  if (!test::current_device().is_cpu()) return;
  backend->allocate((size_t{1} << 38) - 4096);  // all but a page of the address space that the guard reserves
  EXPECT_ERROR(backend->allocate(5000), "could not allocate 5000 bytes");
}

EG4D_DEVICE_SUITE(TensorTest);

TEST_P(TensorTest, EmptyTensorsAreFine) {
  auto backend = test::make_test_backend({.guard_memory = true});
  const Tensor tensor = Tensor::zeros(*backend, {0, 3});
  EXPECT_TRUE(tensor.to_host().empty());
  EXPECT_EQ(tensor.clone().count(), 0);
}

TEST_P(BackendTest, GatherRowsCopiesAndZeroFills) {
  auto backend = test::make_test_backend({.guard_memory = true});
  const Tensor from = Tensor::from_host<float>(*backend, {3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6});
  const Tensor index = Tensor::from_host<int32_t>(*backend, {4}, std::vector<int32_t>{2, -1, 0, 2});
  const Tensor to = Tensor::empty(*backend, {4, 2});
  backend->run(GatherRows{to.raw(), from.raw(), index.data<int32_t>(), 4, 8});
  EXPECT_EQ(to.to_host(), (std::vector<float>{5, 6, 0, 0, 1, 2, 5, 6}));
}

// Rows that follow each other move together.
TEST(Backend, GatherRowsTakesRunsOfRows) {
  const auto backend = make_cpu_backend({.guard_memory = true});
  for (const int64_t count : {0, 1, 31, 10000}) {
    std::vector<float> values(static_cast<size_t>(3 * count)), wanted;
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    std::vector<int32_t> index;
    for (int32_t i = 0; i < count; ++i) {
      if (i % 7 == 3) continue;
      index.push_back(i % 11 >= 9 ? -1 : i);
      for (int32_t c = 0; c < 3; ++c)
        wanted.push_back(index.back() < 0 ? 0.0f : values[static_cast<size_t>(3 * i + c)]);
    }
    const auto rows = static_cast<int64_t>(index.size());
    const Tensor from = Tensor::from_host<float>(*backend, {count, 3}, values);
    const Tensor list = Tensor::from_host<int32_t>(*backend, {rows}, index);
    const Tensor to = Tensor::empty(*backend, {rows, 3});
    backend->run(GatherRows{to.raw(), from.raw(), list.data<int32_t>(), rows, 12});
    EXPECT_EQ(to.to_host(), wanted) << count;
  }
}

TEST(Tensor, RowsGrowByHalfAndMemoryNeverShrinks) {
  const auto backend = make_cpu_backend();
  Tensor tensor = Tensor::empty(*backend, {10, 3});
  EXPECT_EQ(tensor.capacity(), 10u * 12);
  const void* memory = tensor.raw();
  tensor.set_rows(4);
  EXPECT_EQ(tensor.shape(), (Shape{4, 3}));
  EXPECT_EQ(tensor.raw(), memory);
  tensor.set_rows(10);
  EXPECT_EQ(tensor.raw(), memory);
  tensor.set_rows(11);
  EXPECT_EQ(tensor.shape(), (Shape{11, 3}));
  EXPECT_EQ(tensor.capacity(), 16u * 12);
  EXPECT_EQ(backend->allocated_bytes(), tensor.capacity());
  memory = tensor.raw();
  tensor.set_rows(0);
  tensor.set_rows(16);
  EXPECT_EQ(tensor.raw(), memory);
  tensor.fill_zero();
  EXPECT_EQ(tensor.to_host(), std::vector<float>(48));
}

}  // namespace
}  // namespace eg4d
