#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "backend/backend.h"
#include "support/device_fixture.h"
#include "support/device_value.h"
#include "support/golden.h"
#include "support/instruction_sets.h"
#include "support/random_values.h"
#include "support/reference_hexplane.h"
#include "support/reference_training.h"
#include "support/regularization_terms.h"

namespace eg4d::test {
namespace {

constexpr double kRate = 0.01;

// Parameters and moments on a device.
class DeviceAdam {
 public:
  explicit DeviceAdam(const std::vector<float>& start)
      : backend_(make_test_backend({.guard_memory = true})),
        parameter(upload(*backend_, start)),
        first(Tensor::zeros(*backend_, {parameter.count()})),
        second(Tensor::zeros(*backend_, {parameter.count()})) {}

  void step(const std::vector<float>& gradient, const HexPlaneLayout* layout = nullptr,
            const RegularizationWeights& weights = {}) {
    const Tensor given = upload(*backend_, gradient);
    const DeviceValue<AdamRate> rate(*backend_, adam_rate(kRate, ++steps_));
    const Adam adam{.count = parameter.count(),
                    .parameter = parameter.data(),
                    .gradient = given.data(),
                    .first_moment = first.data(),
                    .second_moment = second.data(),
                    .rate = rate.data()};
    if (layout) {
      const auto context = backend_->create_field_context({*layout, {}});
      backend_->run(HexPlaneAdam{.context = context.get(),
                                 .adam = adam,
                                 .plane_smoothness = static_cast<float>(weights.plane),
                                 .time_smoothness = static_cast<float>(weights.time),
                                 .time_l1 = static_cast<float>(weights.l1)});
    } else {
      backend_->run(adam);
    }
    EXPECT_EQ(given.to_host(), std::vector<float>(gradient.size())) << "the gradient is zeroed";
  }
  std::vector<float> all() const {
    std::vector<float> values = parameter.to_host();
    for (const Tensor* tensor : {&first, &second}) {
      const std::vector<float> more = tensor->to_host();
      values.insert(values.end(), more.begin(), more.end());
    }
    return values;
  }

 private:
  std::unique_ptr<Backend> backend_;
  int64_t steps_ = 0;

 public:
  Tensor parameter, first, second;
};

EG4D_DEVICE_SUITE(AdamTest);

TEST_P(AdamTest, MatchesTheReference) {
  for_each_instruction_set([] {
    for (const int64_t count : {0, 1, 31, 1000}) {
      Philox random(1);
      const std::vector<float> start = uniform_values(random, count, -1.0f, 1.0f);
      std::vector<double> parameter = converted<double>(start), first(count), second(count);
      DeviceAdam device(start);
      for (int step = 1; step <= 20; ++step) {
        const std::vector<float> gradient = uniform_values(random, count, -1.0f, 1.0f);
        device.step(gradient);
        reference_adam(parameter, converted<double>(gradient), first, second, step, kRate);
      }
      EXPECT_LE(relative_error(device.parameter.to_host(), converted<float>(parameter)), 1e-6);
      EXPECT_LE(relative_error(device.first.to_host(), converted<float>(first)), 1e-6);
      EXPECT_LE(relative_error(device.second.to_host(), converted<float>(second)), 1e-6);
    }
  });
}

// Gradients from where their squares vanish to where they are large, together in one vector.
TEST_P(AdamTest, SubnormalSecondMomentsAreExact) {
  for_each_instruction_set([] {
    std::vector<float> magnitudes;
    for (int exponent = -150; exponent <= 40; ++exponent) magnitudes.push_back(std::ldexp(1.3f, exponent));
    const size_t count = magnitudes.size();
    std::vector<double> parameter(count), first(count), second(count);
    DeviceAdam device(std::vector<float>(count, 0.0f));
    for (int step = 1; step <= 30; ++step) {
      std::vector<float> gradient = magnitudes;
      for (size_t i = 0; i < count; ++i)
        if ((step + static_cast<int>(i)) % 3 == 0) gradient[i] = step % 2 == 0 ? 0 : -gradient[i];
      if (step > 20) std::fill(gradient.begin(), gradient.end(), 0.0f);
      device.step(gradient);
      reference_adam(parameter, converted<double>(gradient), first, second, step, kRate);
    }
    const std::vector<float> p = device.parameter.to_host(), m = device.first.to_host(),
                             v = device.second.to_host();
    for (size_t i = 0; i < count; ++i) {
      // Each of the 30 steps rounds once.
      EXPECT_NEAR(v[i], second[i], 1e-5 * second[i] + 30 * 0x1p-149) << magnitudes[i];
      EXPECT_NEAR(m[i], first[i], 1e-5 * std::abs(first[i]) + 1e-26) << magnitudes[i];
      EXPECT_NEAR(p[i], parameter[i], 1e-4 * std::abs(parameter[i]) + 1e-9) << magnitudes[i];
    }
  });
}

TEST_P(AdamTest, NotANumberStaysInItsElement) {
  DeviceAdam device(std::vector<float>(40, 1.0f));
  std::vector<float> gradient(40, 0.1f);
  gradient[3] = std::numeric_limits<float>::quiet_NaN();
  gradient[20] = std::numeric_limits<float>::infinity();
  device.step(gradient);
  const std::vector<float> p = device.parameter.to_host();
  for (size_t i = 0; i < p.size(); ++i) EXPECT_TRUE(i == 3 || i == 20 || std::isfinite(p[i])) << i;
  EXPECT_TRUE(std::isnan(p[3]));
}

TEST(RegularizationReference, GradientIsTheDerivative) {
  const HexPlaneLayout layout = make_hexplane_layout(2, {{4, 5, 3, 4}, {6, 2, 5, 4}});
  Philox random(2);
  std::vector<double> grid = uniform_values(random, layout.size(), 0.5, 1.5), d(grid.size());
  const RegularizationWeights weights{0.7, 0.3, 0.05};
  reference_regularization(layout, grid, weights, &d);
  const auto value = [&] {
    const std::vector<double> v = reference_regularization(layout, grid, weights);
    return weights.plane * v[0] + weights.time * v[1] + weights.l1 * v[2];
  };
  for (size_t i = 0; i < grid.size(); ++i) EXPECT_NEAR(d[i], central_difference(grid[i], 1e-6, value), 1e-8);
}

std::vector<HexPlaneLayout> layouts() {
  return {make_hexplane_layout(8, 6, 5, 2), make_hexplane_layout(3, {{1, 2, 3, 1}, {5, 4, 7, 2}}),
          make_hexplane_layout(33, {{300, 4, 3, 5}})};  // rows of more than one stripe
}

EG4D_DEVICE_SUITE(HexPlaneAdamTest);

TEST_P(HexPlaneAdamTest, RegularisersMatchTheReference) {
  for_each_instruction_set([] {
    const RegularizationWeights weights{0.7, 0.3, 0.05};
    for (const HexPlaneLayout& layout : layouts()) {
      Philox random(3);
      std::vector<float> start = uniform_values(random, layout.size(), 0.5f, 1.5f);
      start[0] = 1;
      std::vector<double> d(start.size());
      const std::vector<double> wanted =
          reference_regularization(layout, converted<double>(start), weights, &d);
      const auto backend = make_test_backend({.guard_memory = true});
      const Tensor grid = upload(*backend, start);
      const std::vector<double> ours = regularization_values(*backend, layout, grid);
      for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(ours[i], wanted[i], 1e-6 * wanted[i]) << i;
      EXPECT_LE(relative_error(regularization_gradient(*backend, layout, grid, weights), converted<float>(d)),
                1e-6);
    }
  });
}

// The regularisers see the values before the step.
TEST_P(HexPlaneAdamTest, MatchesRegularizationThenAdam) {
  for_each_instruction_set([] {
    for (const HexPlaneLayout& layout : layouts())
      for (const RegularizationWeights& weights :
           {RegularizationWeights{0.7, 0.3, 0.05}, RegularizationWeights{0, 0, 0},
            RegularizationWeights{0, 0.2, 0}}) {
        Philox random(4);
        const std::vector<float> start = uniform_values(random, layout.size(), 0.5f, 1.5f);
        std::vector<double> grid = converted<double>(start), first(grid.size()), second(grid.size());
        DeviceAdam device(start);
        for (int step = 1; step <= 5; ++step) {
          std::vector<float> given = uniform_values(random, layout.size(), -1.0f, 1.0f);
          for (size_t i = 0; i < given.size(); i += 3) given[i] = 0;
          device.step(given, &layout, weights);
          std::vector<double> gradient = converted<double>(given);
          reference_regularization(layout, grid, weights, &gradient);
          reference_adam(grid, gradient, first, second, step, kRate);
        }
        EXPECT_LE(relative_error(device.parameter.to_host(), converted<float>(grid)), 1e-5);
        EXPECT_LE(relative_error(device.second.to_host(), converted<float>(second)), 1e-5);
      }
  });
}

TEST_P(HexPlaneAdamTest, UntouchedTexelsStay) {
  const HexPlaneLayout layout = make_hexplane_layout(8, 6, 5, 1);
  const std::vector<float> start(static_cast<size_t>(layout.size()), 1.0f);
  DeviceAdam device(start);
  device.step(std::vector<float>(start.size()), &layout, {1, 1, 1});
  EXPECT_EQ(device.parameter.to_host(), start);
}

TEST(HexPlaneAdamOnCpu, SameBitsForAnyNumberOfThreads) {
  const HexPlaneLayout layout = make_hexplane_layout(33, {{300, 40, 30, 5}});
  Philox random(5);
  const std::vector<float> start = uniform_values(random, layout.size(), 0.5f, 1.5f);
  const std::vector<float> gradient = uniform_values(random, layout.size(), -1.0f, 1.0f);
  EXPECT_TRUE(same_bits_for_any_thread_count([&] {
    DeviceAdam device(start);
    device.step(gradient);
    device.step(gradient, &layout, {0.7, 0.3, 0.05});
    return device.all();
  }));
}

}  // namespace
}  // namespace eg4d::test
