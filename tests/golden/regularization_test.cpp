// The hexplane's regularisers against every deform4d/<set>.regulation.safetensors.

#include <gtest/gtest.h>

#include <algorithm>

#include "support/device_fixture.h"
#include "support/device_value.h"
#include "support/golden.h"
#include "support/reference_network.h"
#include "support/regularization_terms.h"

namespace eg4d::test {
namespace {

constexpr double kForward = 1e-4, kGradient = 1e-3;

using Weights = RegularizationWeights;

std::vector<std::string> set_names() {
  std::vector<std::string> names;
  const std::string suffix = ".regulation.safetensors";
  if (!golden_has("deform4d")) return names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder() / "deform4d")) {
    const std::string file = entry.path().filename();
    if (file.ends_with(suffix)) names.push_back(file.substr(0, file.size() - suffix.size()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

class Regularization : public OnEachDeviceWith<std::string> {
 protected:
  void SetUp() override {
    io_ = std::make_unique<SafetensorsFile>(golden_folder() / "deform4d" /
                                            (parameter() + ".regulation.safetensors"));
    const nlohmann::json all = golden_json("deform4d/config.json");
    config_ = all.value("regulation_" + parameter(), nlohmann::json::object());
    weights_ = all.contains("weights_from_hash")
                   ? tensors_from_hash(all.at("weights_from_hash"))
                   : tensors_from_file(SafetensorsFile(golden_folder() / "deform4d/weights.safetensors"));
    // The box plays no part here.
    weights_.try_emplace("deformation_net.grid.aabb", NamedTensor{{2, 3}, {1, 1, 1, -1, -1, -1}});
  }

  // `part`: prefix of the fixture's tensors; planes without a stored gradient must have none.
  void compare(const std::string& part, const Weights& weights) {
    if (!io_->contains(part + ".value")) return;
    ++compared_;
    const ReferenceNetwork network(*backend_, weights_);
    const std::vector<double> v = regularization_values(*backend_, network.layout(), network.grid());
    const double wanted = io_->floats(part + ".value")[0];
    EXPECT_NEAR(weights.plane * v[0] + weights.time * v[1] + weights.l1 * v[2], wanted, kForward * wanted)
        << part;
    bool stored = false;
    for (const auto& [name, entry] : io_->entries()) stored |= name.starts_with(part + ".grad.");
    if (!stored) return;
    for (const auto& [name, gradient] :
         network.planes(regularization_gradient(*backend_, network.layout(), network.grid(), weights))) {
      const std::string key = part + ".grad." + name;
      const std::vector<float> zeros(gradient.values.size());
      EXPECT_LE(relative_error(gradient.values, io_->contains(key) ? io_->floats(key) : zeros), kGradient)
          << key;
    }
  }

  // The reference's call hands its two last weights over in the wrong order.
  static Weights effective(const nlohmann::json& config) {
    return {config.at("l1_time_planes"), config.at("time_smoothness_weight"), config.at("plane_tv_weight")};
  }

  std::unique_ptr<Backend> backend_ = make_test_backend({.guard_memory = true});
  std::unique_ptr<SafetensorsFile> io_;
  nlohmann::json config_;
  NamedTensors weights_;
  int compared_ = 0;
};

TEST_P(Regularization, EachTermMatchesTheReference) {
  compare("plane", {.plane = 1});
  compare("time", {.time = 1});
  compare("l1", {.l1 = 1});
  EXPECT_GT(compared_, 0);
}

TEST_P(Regularization, TheTrainingCallMatchesTheReference) {
  for (const auto& [key, weights] : config_.items())
    if (key.starts_with("weights_")) compare("train_call_" + key.substr(8), effective(weights));
  if (compared_ == 0) GTEST_SKIP() << "the fixture has no training call for this set";
}

// One fused step = regularisers' gradient added to the given one, then Adam.
TEST_P(Regularization, FusedAdamEqualsGradientThenAdam) {
  const Weights weights{.plane = 0.05f, .time = 0.3f, .l1 = 0.7f};
  std::vector<float> grids[2];
  for (int fused = 0; fused < 2; ++fused) {
    const ReferenceNetwork network(*backend_, weights_);
    const int64_t size = network.layout().size();
    const auto context = backend_->create_field_context({network.layout(), {}});
    Tensor gradient = Tensor::empty(*backend_, {size});
    const Tensor first = Tensor::zeros(*backend_, {size}), second = Tensor::zeros(*backend_, {size});
    for (int64_t step = 1; step <= 3; ++step) {
      std::vector<float> given = hash_tensor(static_cast<uint32_t>(step), size, 0.01f);
      if (!fused) {
        const std::vector<float> regularizers =
            regularization_gradient(*backend_, network.layout(), network.grid(), weights);
        for (size_t i = 0; i < given.size(); ++i) given[i] += regularizers[i];
      }
      gradient.copy_from_host(given.data(), given.size() * sizeof(float));
      const DeviceValue<AdamRate> rate(*backend_, adam_rate(0.01, step));
      const Adam adam{.count = size,
                      .parameter = network.grid().data(),
                      .gradient = gradient.data(),
                      .first_moment = first.data(),
                      .second_moment = second.data(),
                      .rate = rate.data()};
      if (fused) {
        backend_->run(HexPlaneAdam{.context = context.get(),
                                   .adam = adam,
                                   .plane_smoothness = static_cast<float>(weights.plane),
                                   .time_smoothness = static_cast<float>(weights.time),
                                   .time_l1 = static_cast<float>(weights.l1)});
      } else {
        backend_->run(adam);
      }
    }
    EXPECT_EQ(gradient.to_host(), std::vector<float>(size));
    grids[fused] = network.grid().to_host();
  }
  EXPECT_LE(relative_error(grids[1], grids[0]), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Golden, Regularization, testing::Combine(testing::ValuesIn(test_devices()), testing::ValuesIn(set_names())),
                         device_label_and([](const std::string& name) { return name; }));
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Regularization);

}  // namespace
}  // namespace eg4d::test
