// LPIPS against losses/lpips_*: value per picture, every layer's share, and the gradient of the mean.

#include "splat/lpips.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/hashed_weights.h"
#include "support/network_fixture.h"

namespace eg4d::test {
namespace {

constexpr double kTolerance = 1e-4;
// A ReLU whose input is about zero may fall either way; that changes the gradient within its receptive field.
// (lpips_vgg has one behind features.5, of input 1.6e-7: there its gradient differs from one computed in
// double in 286 of 12288 numbers by more than kTolerance of the largest.)
constexpr double kTie = 0.02;        // of the largest gradient
constexpr double kTiedShare = 0.05;  // of all numbers

struct Fixture {
  std::string name;  // "lpips_alex"
  std::string path(const std::string& part) const { return "losses/" + name + "." + part + ".safetensors"; }
  SafetensorsFile file(const std::string& part) const { return golden_tensors(path(part)); }
};

// The backbone as its file or the hash gives it.
WeightMap backbone_of(const Fixture& fixture, const nlohmann::json& config) {
  if (golden_has(fixture.path("backbone"))) return WeightMap(golden_folder() / fixture.path("backbone"));
  return hashed_weights(config);
}

// The heads, all or only those of one layer.
WeightMap heads_of(const Fixture& fixture, const std::string& only = {}) {
  const SafetensorsFile file = fixture.file("linear");
  WeightMap weights;
  for (const auto& [name, entry] : file.entries()) {
    auto owner = std::make_shared<std::vector<float>>(file.floats(name));
    if (!only.empty() && !name.starts_with(only)) std::fill(owner->begin(), owner->end(), 0.0f);
    weights.add_tensor(name, DType::f32, entry.shape,
                       {owner, reinterpret_cast<const std::byte*>(owner->data())});
  }
  return weights;
}

void expect_values(const std::vector<double>& ours, const SafetensorsFile& io, const std::string& name) {
  if (!io.contains(name)) return;
  EXPECT_LE(relative_error(std::vector<float>(ours.begin(), ours.end()), io.floats(name)), kTolerance)
      << name;
}

void expect_gradient(const std::vector<float>& ours, const std::vector<float>& wanted) {
  ASSERT_EQ(ours.size(), wanted.size());
  float largest = 0;
  for (const float value : wanted) largest = std::max(largest, std::abs(value));
  std::vector<float> without_ties = ours;
  size_t tied = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    const float error = std::abs(ours[i] - wanted[i]);
    ASSERT_LE(error, kTie * largest) << i;
    if (error <= kTolerance * largest) continue;
    ++tied;
    without_ties[i] = wanted[i];
  }
  testing::Test::RecordProperty("tied", static_cast<int>(tied));
  EXPECT_LE(static_cast<double>(tied), kTiedShare * static_cast<double>(ours.size()));
  EXPECT_LE(relative_error(without_ties, wanted), kTolerance);
}

class LpipsGolden : public OnEachDeviceWith<const char*> {};

TEST_P(LpipsGolden, ValueAndGradient) {
  const Fixture fixture{parameter()};
  if (!golden_has_fixture(fixture.path("io"), GoldenPart::optional)) GTEST_SKIP() << "no " << fixture.name;
  const nlohmann::json config = golden_json("losses/config.json").at(fixture.name);
  const SafetensorsFile io = fixture.file("io");
  const bool guard = fixture.name == "lpips_alex";
  auto backend = make_test_backend({.guard_memory = guard});
  const WeightMap backbone = backbone_of(fixture, config);
  const Tensor pictures = channels_last(*backend, io, "img1"), targets = channels_last(*backend, io, "img2");
  const int64_t count = pictures.dim(0);

  Lpips lpips(*backend, backbone, heads_of(fixture));
  expect_values(lpips.distances(pictures, targets), io, "value_per_image");
  for (int layer = 0; io.contains("layer" + std::to_string(layer)); ++layer) {
    Lpips one(*backend, backbone, heads_of(fixture, "lin" + std::to_string(layer) + "."));
    expect_values(one.distances(pictures, targets), io, "layer" + std::to_string(layer));
  }
  if (!io.contains("grad_img1_of_mean")) return;
  const Tensor gradient = Tensor::zeros(*backend, pictures.shape());
  lpips.measure(pictures, targets, Tensor::zeros(*backend, {count}, DType::f64),
                1 / static_cast<float>(count), gradient);
  expect_gradient(values_like(gradient, io.at("grad_img1_of_mean").shape), io.floats("grad_img1_of_mean"));
}

INSTANTIATE_TEST_SUITE_P(Networks, LpipsGolden,
                         testing::Combine(testing::ValuesIn(test_devices()),
                                          testing::Values("lpips_alex", "lpips_vgg")),
                         device_label_and([](const char* name) { return name; }));

}  // namespace
}  // namespace eg4d::test
