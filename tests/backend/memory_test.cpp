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

}  // namespace
}  // namespace eg4d
