#pragma once

// What tests of operations and their gradients have in common.

#include <gtest/gtest.h>

#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/random_values.h"

namespace eg4d::test {

using Values = std::vector<float>;
using Doubles = std::vector<double>;

inline Values numbers(int64_t count, uint32_t seed, float spread = 2, float middle = 0) {
  return hash_tensor(seed, static_cast<size_t>(count), spread, middle);
}

// Finite differences of Σ_i d_y[i]·value(x)[i] for every x.
template <class Forward>
Values differences(const Values& x, const Values& d_y, const Forward& forward, double step = 1e-4) {
  Doubles at(x.begin(), x.end());
  Values gradient(x.size());
  const auto value = [&] {
    const Doubles y = forward(at);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * d_y[i];
    return sum;
  };
  for (size_t i = 0; i < x.size(); ++i)
    gradient[i] = static_cast<float>(central_difference(at[i], step, value));
  return gradient;
}

inline Values floats(const Doubles& values) {
  return converted<float>(values);
}

// Of one device's two ways to the same values: the processor goes both with the same bits, another device
// fuses multiplications and additions in one way and not in the other.
inline void expect_same_values(const Values& one, const Values& other) {
  if (current_device().is_cpu())
    EXPECT_EQ(one, other);
  else
    EXPECT_LE(relative_error(one, other), 1e-6);
}

// Gradients are added: `added` is what was there before.
inline void expect_added(const Values& result, const Values& added, const Values& gradient,
                         double tolerance) {
  Values wanted = gradient;
  for (size_t i = 0; i < wanted.size(); ++i) wanted[i] += added[i];
  EXPECT_LE(relative_error(result, wanted), tolerance);
}

// On the processor once for each instruction set.
class OperationTest : public OnEachDevice {
 protected:
  Tensor device(Shape shape, const Values& values) {
    return Tensor::from_host<float>(*backend, std::move(shape), values);
  }
  Backend& ops() { return *backend; }

  std::unique_ptr<Backend> backend = make_test_backend({.guard_memory = true});
};

}  // namespace eg4d::test
