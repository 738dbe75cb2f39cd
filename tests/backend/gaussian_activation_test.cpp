#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "backend/backend.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/random_values.h"
#include "support/reference_mlp.h"

namespace eg4d::test {
namespace {

RawGaussians<double> random_gaussians(int64_t count, bool deltas, bool color, uint64_t seed = 1) {
  Philox random(seed);
  const auto values = [&](int64_t width) {
    return converted<double>(uniform_values(random, count * width, -1.5f, 1.5f));
  };
  RawGaussians<double> raw;
  raw.positions = values(3);
  raw.log_scales = values(3);
  raw.quaternions = values(4);
  raw.opacity_logits = values(1);
  if (deltas) {
    raw.delta_positions = values(3);
    raw.delta_log_scales = values(3);
    raw.delta_quaternions = values(4);
    raw.delta_opacities = values(1);
  }
  if (color) {
    raw.raw_gain = values(1);
    raw.raw_bias = values(3);
  }
  return raw;
}

// All arrays on a device; vectors that are empty become null pointers.
class DeviceGaussians {
 public:
  DeviceGaussians(const RawGaussians<double>& raw, bool flat)
      : backend_(make_test_backend({.guard_memory = true})) {
    const auto count = raw.opacity_logits.size();
    a.count = static_cast<int64_t>(count);
    a.flat = flat;
    a.positions = constant(raw.positions);
    a.log_scales = constant(raw.log_scales);
    a.quaternions = constant(raw.quaternions);
    a.opacity_logits = constant(raw.opacity_logits);
    a.delta_positions = constant(raw.delta_positions);
    a.delta_log_scales = constant(raw.delta_log_scales);
    a.delta_quaternions = constant(raw.delta_quaternions);
    a.delta_opacities = constant(raw.delta_opacities);
    a.raw_gain = constant(raw.raw_gain);
    a.raw_bias = constant(raw.raw_bias);
    a.means = output(count * 3, 0);
    a.scales = output(count * 3, 0);
    a.rotations = output(count * 4, 0);
    a.opacities = output(count, 0);
    if (!raw.raw_gain.empty()) a.gain_bias = output(count * 4, 0);
    backend_->run(a);
    for (const Tensor& tensor : outputs_) forward.push_back(tensor.to_host());
  }

  // Gradients start at 1, to which the kernel adds.
  std::vector<std::vector<float>> backward(const ReferenceActivations<double>& d) {
    const size_t count = d.opacities.size(), first = outputs_.size();
    GaussianActivationBackward b;
    b.forward = a;
    b.d_means = constant(d.means);
    b.d_scales = constant(d.scales);
    b.d_rotations = constant(d.rotations);
    b.d_opacities = constant(d.opacities);
    b.d_gain_bias = constant(d.gain_bias);
    b.d_positions = output(count * 3, 1);
    b.d_log_scales = output(count * 3, 1);
    b.d_quaternions = output(count * 4, 1);
    b.d_opacity_logits = output(count, 1);
    if (a.raw_gain) {
      b.d_raw_gain = output(count, 1);
      b.d_raw_bias = output(count * 3, 1);
    }
    const size_t deltas = outputs_.size();
    b.d_delta_positions = output(count * 3, 1);
    b.d_delta_log_scales = output(count * 3, 1);
    b.d_delta_quaternions = output(count * 4, 1);
    b.d_delta_opacities = output(count, 1);
    backend_->run(b);
    for (size_t i = 0; i < 4; ++i)
      EXPECT_TRUE(same_bits(outputs_[first + i].to_host(), outputs_[deltas + i].to_host()));
    std::vector<std::vector<float>> gradients;
    for (size_t i = first; i < deltas; ++i) gradients.push_back(outputs_[i].to_host());
    return gradients;
  }

  GaussianActivation a;
  std::vector<std::vector<float>> forward;  // means, scales, rotations, opacities, gain_bias

 private:
  const float* constant(const std::vector<double>& values) {
    if (values.empty()) return nullptr;
    inputs_.push_back(upload(*backend_, converted<float>(values)));
    return inputs_.back().data();
  }
  float* output(size_t count, float value) {
    outputs_.push_back(upload(*backend_, std::vector<float>(count, value)));
    return outputs_.back().data();
  }
  std::unique_ptr<Backend> backend_;
  std::vector<Tensor> inputs_, outputs_;
};

ReferenceActivations<double> random_derivatives(int64_t count, bool color) {
  const RawGaussians<double> d = random_gaussians(count, false, color, 2);
  ReferenceActivations<double> derivatives{.means = d.positions,
                                           .scales = d.log_scales,
                                           .rotations = d.quaternions,
                                           .opacities = d.opacity_logits,
                                           .gain_bias = {}};
  for (int64_t i = 0; i < count && color; ++i) {
    derivatives.gain_bias.push_back(d.raw_gain[i]);
    for (int64_t k = 0; k < 3; ++k) derivatives.gain_bias.push_back(d.raw_bias[i * 3 + k]);
  }
  return derivatives;
}

std::vector<float> plus_one(const std::vector<double>& values) {
  std::vector<float> sum = converted<float>(values);
  for (float& v : sum) v += 1;
  return sum;
}

TEST(ActivationsReference, GradientsAreDerivatives) {
  RawGaussians<double> raw = random_gaussians(5, false, true);
  const ReferenceActivations<double> weight = random_derivatives(5, true);
  const auto value = [&] {
    const ReferenceActivations<double> out = reference_activations(raw, false);
    double sum = 0;
    const auto add = [&](const std::vector<double>& x, const std::vector<double>& w) {
      for (size_t i = 0; i < x.size(); ++i) sum += x[i] * w[i];
    };
    add(out.means, weight.means);
    add(out.scales, weight.scales);
    add(out.rotations, weight.rotations);
    add(out.opacities, weight.opacities);
    add(out.gain_bias, weight.gain_bias);
    return sum;
  };
  const RawGaussians<double> d = reference_activations_backward(raw, false, weight);
  const auto check = [&](std::vector<double>& x, const std::vector<double>& gradient) {
    for (size_t i = 0; i < x.size(); ++i)
      EXPECT_NEAR(gradient[i], central_difference(x[i], 1e-6, value), 1e-6);
  };
  check(raw.positions, d.positions);
  check(raw.log_scales, d.log_scales);
  check(raw.quaternions, d.quaternions);
  check(raw.opacity_logits, d.opacity_logits);
  check(raw.raw_gain, d.raw_gain);
  check(raw.raw_bias, d.raw_bias);
}

EG4D_DEVICE_SUITE(GaussianActivationTest);

TEST_P(GaussianActivationTest, MatchesTheReference) {
  for_each_instruction_set([] {
    for (const int64_t count : {0, 1, 31, 5000})
      for (const bool deltas : {false, true})
        for (const bool color : {false, true})
          for (const bool flat : {false, true}) {
            const RawGaussians<double> raw = random_gaussians(count, deltas, color);
            DeviceGaussians device(raw, flat);
            const ReferenceActivations<double> wanted = reference_activations(raw, flat);
            EXPECT_LE(relative_error(device.forward[0], converted<float>(wanted.means)), 1e-6);
            EXPECT_LE(relative_error(device.forward[1], converted<float>(wanted.scales)), 1e-6);
            EXPECT_LE(relative_error(device.forward[2], converted<float>(wanted.rotations)), 1e-6);
            EXPECT_LE(relative_error(device.forward[3], converted<float>(wanted.opacities)), 1e-6);
            const ReferenceActivations<double> d = random_derivatives(count, color);
            const RawGaussians<double> gradient = reference_activations_backward(raw, flat, d);
            const auto ours = device.backward(d);
            EXPECT_LE(relative_error(ours[0], plus_one(gradient.positions)), 1e-6);
            EXPECT_LE(relative_error(ours[1], plus_one(gradient.log_scales)), 1e-5);
            EXPECT_LE(relative_error(ours[2], plus_one(gradient.quaternions)), 1e-5);
            EXPECT_LE(relative_error(ours[3], plus_one(gradient.opacity_logits)), 1e-5);
            if (!color || count == 0) continue;
            EXPECT_LE(relative_error(device.forward[4], converted<float>(wanted.gain_bias)), 1e-6);
            EXPECT_LE(relative_error(ours[4], plus_one(gradient.raw_gain)), 1e-5);
            EXPECT_LE(relative_error(ours[5], plus_one(gradient.raw_bias)), 1e-6);
          }
  });
}

TEST_P(GaussianActivationTest, ExtremeValuesStayInRange) {
  for_each_instruction_set([] {
    RawGaussians<double> raw = random_gaussians(4, false, false);
    raw.opacity_logits = {200, -200, 0, std::numeric_limits<double>::quiet_NaN()};
    raw.quaternions.assign(16, 0.0);
    raw.log_scales[0] = -200;
    raw.log_scales[1] = 200;
    raw.positions[0] = std::numeric_limits<double>::infinity();
    DeviceGaussians device(raw, false);
    EXPECT_EQ(device.forward[3][0], 1);
    EXPECT_GE(device.forward[3][1], 0);
    EXPECT_LT(device.forward[3][1], 1e-30f);
    EXPECT_EQ(device.forward[3][2], 0.5f);
    EXPECT_EQ(device.forward[2], std::vector<float>(16));  // a zero quaternion stays zero
    EXPECT_LT(device.forward[1][0], 1e-30f);
    EXPECT_EQ(device.forward[1][1], std::numeric_limits<float>::infinity());
    EXPECT_TRUE(std::isnan(device.forward[3][3]));
    device.backward(random_derivatives(4, false));
  });
}

TEST(GaussianActivationOnCpu, SameBitsForAnyNumberOfThreads) {
  const RawGaussians<double> raw = random_gaussians(9000, true, true);
  const ReferenceActivations<double> d = random_derivatives(9000, true);
  EXPECT_TRUE(same_bits_for_any_thread_count([&] {
    DeviceGaussians device(raw, false);
    auto parts = device.backward(d);
    parts.insert(parts.end(), device.forward.begin(), device.forward.end());
    std::vector<float> all;
    for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
  }));
}

EG4D_DEVICE_SUITE(DensityStatisticsTest);

TEST_P(DensityStatisticsTest, VisibleGaussiansAreCounted) {
  const auto backend = make_test_backend({.guard_memory = true});
  const Tensor d_means = upload(*backend, {3, 4, 1, 1, 0.6f, 0.8f});
  const Tensor radii = Tensor::from_host(*backend, {3}, std::vector<int32_t>{7, 0, 2});
  const Tensor sums = upload(*backend, {1, 1, 1}), views = upload(*backend, {2, 2, 2}),
               largest = upload(*backend, {5, 5, 5});
  DensityStatistics s{.count = 3,
                      .d_means_ndc = d_means.data(),
                      .radii = radii.data<int32_t>(),
                      .gradient_sum = sums.data(),
                      .views = views.data(),
                      .max_radii = largest.data()};
  backend->run(s);
  EXPECT_EQ(sums.to_host(), (std::vector<float>{6, 1, 2}));
  EXPECT_EQ(views.to_host(), (std::vector<float>{3, 2, 3}));
  EXPECT_EQ(largest.to_host(), (std::vector<float>{7, 5, 5}));
  s.count = 0;
  backend->run(s);
}

}  // namespace
}  // namespace eg4d::test
