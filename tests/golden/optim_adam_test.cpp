// Adam against optim/adam.safetensors: every tensor "<t>.init" with its gradients and values step by step.

#include <gtest/gtest.h>

#include "backend/backend.h"
#include "nn/tensor.h"
#include "support/device_fixture.h"
#include "support/device_value.h"
#include "support/golden.h"

namespace eg4d::test {
namespace {

EG4D_DEVICE_SUITE(GoldenAdamTest);

TEST_P(GoldenAdamTest, FollowsTheReferenceStepByStep) {
  if (!golden_has_fixture("optim/adam.safetensors")) GTEST_SKIP() << "no Adam fixture";
  const SafetensorsFile io = golden_tensors("optim/adam.safetensors");
  const nlohmann::json config = golden_json("optim/config.json").at("adam");
  const auto backend = make_test_backend({.guard_memory = true});
  int steps = 0;
  for (const auto& [key, entry] : io.entries()) {
    if (!key.ends_with(".init")) continue;
    const std::string name = key.substr(0, key.size() - 5);
    const Tensor parameter = Tensor::from_host(*backend, entry.shape, io.floats(key));
    const Tensor first = Tensor::zeros(*backend, entry.shape), second = Tensor::zeros(*backend, entry.shape);
    for (int step = 0; io.contains(name + ".grad" + std::to_string(step)); ++step, ++steps) {
      const std::string number = std::to_string(step);
      const Tensor gradient = Tensor::from_host(*backend, entry.shape, io.floats(name + ".grad" + number));
      Adam adam;
      adam.count = parameter.count();
      adam.parameter = parameter.data();
      adam.gradient = gradient.data();
      adam.first_moment = first.data();
      adam.second_moment = second.data();
      adam.beta1 = config.at("betas").at(0);
      adam.beta2 = config.at("betas").at(1);
      adam.epsilon = config.at("eps");
      const DeviceValue<AdamRate> rate(*backend,
                                       adam_rate(config.at("lr").at(name), step + 1, adam.beta1, adam.beta2));
      adam.rate = rate.data();
      backend->run(adam);
      EXPECT_EQ(gradient.to_host(), std::vector<float>(static_cast<size_t>(parameter.count())));
      const std::vector<float> ours = parameter.to_host(), wanted = io.floats(name + ".step" + number);
      EXPECT_LE(relative_error(ours, wanted), 1e-7) << name << number;
      // A step is far smaller than the parameter: compare it by itself too, within the parameter's rounding.
      for (size_t i = 0; i < ours.size(); ++i)
        EXPECT_NEAR(ours[i], wanted[i], 2.5e-7 * std::abs(wanted[i]) + 1e-12)
            << name << number << "[" << i << "]";
    }
    EXPECT_LE(relative_error(first.to_host(), io.floats(name + ".exp_avg")), 1e-6) << name;
    const std::vector<float> ours = second.to_host(), wanted = io.floats(name + ".exp_avg_sq");
    for (size_t i = 0; i < ours.size(); ++i)  // denormals included
      EXPECT_NEAR(ours[i], wanted[i], 1e-6 * wanted[i] + 1e-44) << name << "[" << i << "]";
  }
  EXPECT_GT(steps, 0);
}

}  // namespace
}  // namespace eg4d::test
