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

ReferenceLayer<double> random_layer(Philox& random, int in, int out) {
  const float bound = std::sqrt(3.0f / static_cast<float>(in));
  return {in, out, converted<double>(uniform_values(random, int64_t{in} * out, -bound, bound)),
          converted<double>(uniform_values(random, out, -0.3f, 0.3f))};
}

ReferenceMlp<double> random_mlp(uint64_t seed, const std::vector<int>& trunk, int hidden,
                                const std::vector<int>& outputs) {
  Philox random(seed);
  ReferenceMlp<double> mlp;
  for (size_t i = 0; i + 1 < trunk.size(); ++i)
    mlp.trunk.push_back(random_layer(random, trunk[i], trunk[i + 1]));
  for (const int out : outputs)
    mlp.heads.push_back({random_layer(random, trunk.back(), hidden), random_layer(random, hidden, out)});
  return mlp;
}

// The network in device memory with gradients that start at 0.
class DeviceNetwork {
 public:
  DeviceNetwork(Backend& backend, const ReferenceMlp<double>& mlp, const std::vector<double>& features)
      : backend_(backend), features_(upload(backend, converted<float>(features))) {
    FieldDescription description;
    for (const auto& layer : mlp.trunk) description.network.trunk.push_back(add(layer));
    for (const auto& head : mlp.heads) {
      const auto hidden = add(head.hidden);
      description.network.heads.push_back({hidden, add(head.last)});
    }
    context_ = backend.create_field_context(description);
    weights_ = upload(backend, host_weights_);
    d_weights_ = Tensor::zeros(backend, weights_.shape());
    d_features_ = Tensor::zeros(backend, features_.shape());
    DeformationNetwork& forward = network.forward;
    forward.context = context_.get();
    forward.count = static_cast<int64_t>(features.size()) / mlp.trunk.front().in;
    forward.features = features_.data();
    forward.weights = weights_.data();
    forward.keep = true;
    for (size_t i = 0; i < mlp.heads.size(); ++i) {
      outputs.push_back(Tensor::zeros(backend, {forward.count * mlp.heads[i].last.out}));
      forward.outputs[i] = outputs[i].data();
    }
    network.d_features = d_features_.data();
    network.d_weights = d_weights_.data();
  }
  void forward() { backend_.run(network.forward); }
  void backward(const std::vector<std::vector<double>>& d_outputs) {
    for (size_t i = 0; i < d_outputs.size(); ++i) {
      if (d_outputs[i].empty()) continue;
      d_outputs_.push_back(upload(backend_, converted<float>(d_outputs[i])));
      network.d_outputs[i] = d_outputs_.back().data();
    }
    backend_.run(network);
  }
  std::vector<float> d_features() const { return d_features_.to_host(); }
  // Weight gradient, bias gradient of every layer: the trunk's, then hidden and last of the heads.
  std::vector<std::vector<float>> gradients() const {
    std::vector<std::vector<float>> all;
    const std::vector<float> d = d_weights_.to_host();
    for (const auto& layer : layers_) {
      const auto weight = d.begin() + layer.weight, bias = d.begin() + layer.bias;
      all.emplace_back(weight, weight + int64_t{layer.in} * layer.out);
      all.emplace_back(bias, bias + layer.out);
    }
    return all;
  }
  std::vector<float> everything() const {
    std::vector<float> all = d_features();
    for (const Tensor& output : outputs) {
      const std::vector<float> values = output.to_host();
      all.insert(all.end(), values.begin(), values.end());
    }
    for (const auto& values : gradients()) all.insert(all.end(), values.begin(), values.end());
    return all;
  }

  DeformationNetworkBackward network;
  std::vector<Tensor> outputs;

 private:
  DeformationNetworkLayout::Layer add(const ReferenceLayer<double>& layer) {
    const auto append = [&](const std::vector<double>& values) {
      const auto place = static_cast<int64_t>(host_weights_.size());
      for (const double value : values) host_weights_.push_back(static_cast<float>(value));
      return place;
    };
    const int64_t weight = append(layer.weight);
    layers_.push_back({layer.in, layer.out, weight, append(layer.bias)});
    return layers_.back();
  }

  Backend& backend_;
  std::vector<float> host_weights_;
  std::vector<DeformationNetworkLayout::Layer> layers_;
  std::unique_ptr<FieldContext> context_;
  Tensor features_, d_features_, weights_, d_weights_;
  std::vector<Tensor> d_outputs_;
};

std::vector<std::vector<double>> layers_of(const ReferenceMlp<double>& mlp) {
  std::vector<std::vector<double>> all;
  const auto add = [&](const ReferenceLayer<double>& layer) {
    all.push_back(layer.weight);
    all.push_back(layer.bias);
  };
  for (const auto& layer : mlp.trunk) add(layer);
  for (const auto& head : mlp.heads) {
    add(head.hidden);
    add(head.last);
  }
  return all;
}

std::vector<double> random_doubles(uint64_t seed, int64_t count) {
  Philox random(seed);
  return converted<double>(uniform_values(random, count, -1.0f, 1.0f));
}

std::vector<std::vector<double>> random_d_outputs(const ReferenceMlp<double>& mlp, int64_t count) {
  std::vector<std::vector<double>> d_outputs;
  for (const auto& head : mlp.heads)
    d_outputs.push_back(random_doubles(50 + d_outputs.size(), count * head.last.out));
  return d_outputs;
}

void compare(const DeviceNetwork& device, const ReferenceMlp<double>& mlp,
             const std::vector<double>& features, const std::vector<std::vector<double>>& d_outputs) {
  const auto outputs = reference_mlp(mlp, features);
  for (size_t i = 0; i < outputs.size(); ++i)
    EXPECT_TRUE(!device.network.forward.outputs[i] ||
                relative_error(device.outputs[i].to_host(), converted<float>(outputs[i])) <= 1e-5)
        << i;
  const MlpGradients<double> wanted = reference_mlp_backward(mlp, features, d_outputs);
  EXPECT_LE(relative_error(device.d_features(), converted<float>(wanted.features)), 1e-4);
  const auto ours = device.gradients();
  const auto layers = layers_of(wanted.parameters);
  for (size_t i = 0; i < ours.size(); ++i)
    EXPECT_LE(relative_error(ours[i], converted<float>(layers[i])), 1e-4) << "parameter " << i;
}

TEST(MlpReference, GradientsAreDerivatives) {
  ReferenceMlp<double> mlp = random_mlp(1, {3, 5, 4}, 6, {1, 3});
  std::vector<double> features = random_doubles(2, 4 * 3);
  const auto d_outputs = random_d_outputs(mlp, 4);
  const auto value = [&] {
    double sum = 0;
    const auto outputs = reference_mlp(mlp, features);
    for (size_t h = 0; h < outputs.size(); ++h)
      for (size_t i = 0; i < outputs[h].size(); ++i) sum += outputs[h][i] * d_outputs[h][i];
    return sum;
  };
  const MlpGradients<double> d = reference_mlp_backward(mlp, features, d_outputs);
  const auto check = [&](std::vector<double>& x, const std::vector<double>& gradient) {
    for (size_t i = 0; i < x.size(); ++i)
      EXPECT_NEAR(gradient[i], central_difference(x[i], 1e-6, value), 1e-6);
  };
  check(features, d.features);
  for (size_t i = 0; i < mlp.trunk.size(); ++i) {
    check(mlp.trunk[i].weight, d.parameters.trunk[i].weight);
    check(mlp.trunk[i].bias, d.parameters.trunk[i].bias);
  }
  for (size_t i = 0; i < mlp.heads.size(); ++i) {
    check(mlp.heads[i].hidden.weight, d.parameters.heads[i].hidden.weight);
    check(mlp.heads[i].last.bias, d.parameters.heads[i].last.bias);
  }
}

EG4D_DEVICE_SUITE(DeformationNetworkTest);

TEST_P(DeformationNetworkTest, MatchesTheReferenceForAnySizes) {
  for_each_instruction_set([] {
    const std::vector<std::vector<int>> trunks = {{16, 32, 32}, {5, 7}, {3, 9, 1, 17}, {33, 20, 20}};
    for (const auto& trunk : trunks)
      for (const int64_t count : {0, 1, 31, 257, 1100}) {
        const ReferenceMlp<double> mlp = random_mlp(trunk.size(), trunk, 19, {3, 4, 1, 8});
        const std::vector<double> features = random_doubles(3, count * trunk.front());
        const auto d_outputs = random_d_outputs(mlp, count);
        const auto backend = make_test_backend({.guard_memory = true});
        DeviceNetwork device(*backend, mlp, features);
        device.forward();
        device.backward(d_outputs);
        compare(device, mlp, features, d_outputs);
      }
  });
}

// More outputs than any head of EG4D has.
TEST_P(DeformationNetworkTest, WideHeads) {
  const ReferenceMlp<double> mlp = random_mlp(3, {16, 32, 32}, 19, {9, 20});
  const std::vector<double> features = random_doubles(3, 257 * 16);
  const auto d_outputs = random_d_outputs(mlp, 257);
  const auto backend = make_test_backend({.guard_memory = true});
  DeviceNetwork device(*backend, mlp, features);
  device.forward();
  device.backward(d_outputs);
  compare(device, mlp, features, d_outputs);
}

TEST_P(DeformationNetworkTest, HeadsWithoutOutputOrDerivativeAreLeftOut) {
  const ReferenceMlp<double> mlp = random_mlp(4, {6, 8, 8}, 8, {3, 1, 2});
  const std::vector<double> features = random_doubles(5, 100 * 6);
  auto d_outputs = random_d_outputs(mlp, 100);
  d_outputs[0].clear();
  d_outputs[1].clear();
  const auto backend = make_test_backend({.guard_memory = true});
  DeviceNetwork device(*backend, mlp, features);
  device.network.forward.outputs[0] = nullptr;
  device.forward();
  device.backward(d_outputs);
  EXPECT_EQ(device.outputs[0].to_host(), std::vector<float>(300));
  compare(device, mlp, features, d_outputs);
}

TEST_P(DeformationNetworkTest, NoHeadHasADerivative) {
  const ReferenceMlp<double> mlp = random_mlp(4, {6, 8, 8}, 8, {3});
  const auto backend = make_test_backend({.guard_memory = true});
  DeviceNetwork device(*backend, mlp, random_doubles(5, 20 * 6));
  device.forward();
  device.backward({{}});
  EXPECT_EQ(device.d_features(), std::vector<float>(120));
}

TEST_P(DeformationNetworkTest, InferenceKeepsNothing) {
  const ReferenceMlp<double> mlp = random_mlp(6, {6, 8, 8, 5}, 8, {3, 1});
  const std::vector<double> features = random_doubles(7, 600 * 6);
  const auto backend = make_test_backend({.guard_memory = true});
  DeviceNetwork kept(*backend, mlp, features), passing(*backend, mlp, features);
  kept.forward();
  passing.network.forward.keep = false;
  const size_t before = backend->allocated_bytes();
  backend->run(passing.network.forward);
  if (current_device().is_cpu()) {
    EXPECT_EQ(backend->allocated_bytes(), before);
  }
  for (size_t i = 0; i < kept.outputs.size(); ++i)
    EXPECT_EQ(kept.outputs[i].to_host(), passing.outputs[i].to_host());
}

TEST_P(DeformationNetworkTest, FrozenLayersHaveNoGradientButPassItOn) {
  const ReferenceMlp<double> mlp = random_mlp(8, {6, 8, 8}, 8, {3, 1});
  const std::vector<double> features = random_doubles(9, 64 * 6);
  const auto d_outputs = random_d_outputs(mlp, 64);
  const auto backend = make_test_backend({.guard_memory = true});
  DeviceNetwork device(*backend, mlp, features);
  device.network.d_weights = nullptr;
  device.forward();
  device.backward(d_outputs);
  EXPECT_LE(relative_error(device.d_features(),
                           converted<float>(reference_mlp_backward(mlp, features, d_outputs).features)),
            1e-4);
  for (const auto& gradient : device.gradients()) EXPECT_EQ(gradient, std::vector<float>(gradient.size()));
}

// What reserve() made room for, the operation keeps there.
TEST(DeformationNetwork, WithRoomReservedNothingIsAllocated) {
  const ReferenceMlp<double> mlp = random_mlp(6, {6, 8, 8}, 8, {3, 1});
  const auto backend = make_cpu_backend({.guard_memory = true});
  DeviceNetwork device(*backend, mlp, random_doubles(7, 300 * 6));
  const size_t before = backend->allocated_bytes();
  device.network.forward.context->reserve(device.network.forward);
  const size_t reserved = backend->allocated_bytes();
  EXPECT_GE(reserved - before, 300 * (8 + 8 + 2 * 8) * sizeof(float));
  device.forward();
  EXPECT_EQ(backend->allocated_bytes(), reserved);
}

TEST_P(DeformationNetworkTest, RowsWithoutDerivativeAreLeftOut) {
  const ReferenceMlp<double> mlp = random_mlp(10, {12, 16, 16}, 16, {3, 4});
  const int64_t count = 1500;
  const std::vector<double> features = random_doubles(11, count * 12);
  auto d_outputs = random_d_outputs(mlp, count);
  for (int64_t row = 0; row < count; ++row)
    for (size_t head = 0; head < 2 && row % 5 != 0; ++head) {
      const int64_t out = mlp.heads[head].last.out;
      std::fill_n(d_outputs[head].begin() + row * out, out, 0.0);
    }
  const auto backend = make_test_backend({.guard_memory = true});
  DeviceNetwork device(*backend, mlp, features);
  device.forward();
  device.backward(d_outputs);
  compare(device, mlp, features, d_outputs);
}

TEST_P(DeformationNetworkTest, NotANumberStaysInItsRow) {
  const ReferenceMlp<double> mlp = random_mlp(12, {6, 8, 8}, 8, {3});
  std::vector<double> features = random_doubles(13, 40 * 6);
  const auto backend = make_test_backend({.guard_memory = true});
  DeviceNetwork clean(*backend, mlp, features);
  clean.forward();
  features[5 * 6 + 2] = std::numeric_limits<double>::quiet_NaN();
  features[7 * 6 + 2] = std::numeric_limits<double>::infinity();
  DeviceNetwork device(*backend, mlp, features);
  device.forward();
  device.backward(random_d_outputs(mlp, 40));
  const std::vector<float> wanted = clean.outputs[0].to_host(), ours = device.outputs[0].to_host();
  for (size_t i = 0; i < ours.size(); ++i) EXPECT_TRUE(i / 3 == 5 || i / 3 == 7 || ours[i] == wanted[i]) << i;
  EXPECT_TRUE(std::isnan(ours[15]));
}

TEST(DeformationNetworkOnCpu, SameBitsForAnyNumberOfThreads) {
  const ReferenceMlp<double> mlp = random_mlp(14, {32, 64, 64}, 64, {3, 4, 1});
  for (const int64_t count : {100, 3000}) {
    const std::vector<double> features = random_doubles(15, count * 32);
    const auto d_outputs = random_d_outputs(mlp, count);
    EXPECT_TRUE(same_bits_for_any_thread_count([&] {
      const auto backend = make_test_backend();
      DeviceNetwork device(*backend, mlp, features);
      device.forward();
      device.backward(d_outputs);
      return device.everything();
    }));
  }
}

}  // namespace
}  // namespace eg4d::test
