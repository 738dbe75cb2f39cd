#include <gtest/gtest.h>

#include <cmath>

#include "backend/forwarding_backend.h"
#include "splat/density_control.h"
#include "support/device_fixture.h"
#include "support/golden.h"

namespace eg4d {
namespace {

using test::relative_error;

constexpr const char* kReferenceNames[6] = {"xyz", "f_dc", "f_rest", "scaling", "rotation", "opacity"};

// The CPU with the noise of split Gaussians given.
class GivenNoise final : public ForwardingBackend {
 public:
  GivenNoise() : ForwardingBackend(test::make_test_backend({.guard_memory = true})) {}
  void run(const Operation& operation) override {
    const auto* noise = std::get_if<SplitNoise>(&operation);
    if (!noise) return ForwardingBackend::run(operation);
    ASSERT_EQ(normals.size(), static_cast<size_t>(6 * noise->count));
    copy_to_device(noise->normals, normals.data(), normals.size() * sizeof(float));
  }
  std::vector<float> normals;
};

class Densify : public test::OnEachDevice {
 protected:
  void SetUp() override {
    if (!test::golden_has_fixture("optim/densify.safetensors")) GTEST_SKIP() << "no densify fixture";
    config_ = test::golden_json("optim/config.json")["densify"];
    file_ = std::make_unique<SafetensorsFile>(test::golden_tensors("optim/densify.safetensors"));
    backend_ = std::make_unique<GivenNoise>();
  }

  Tensor read(const std::string& name, const Shape& shape) {
    return Tensor::from_host<float>(*backend_, shape, file_->floats(name));
  }

  TrainedGaussians read_state(const std::string& state) {
    const int64_t count = file_->at(state + ".xyz").shape[0];
    TrainedGaussians g(Gaussians::zeros(*backend_, count));
    Gaussians* sets[3] = {&g.values, &g.first_moments, &g.second_moments};
    const char* suffixes[3] = {"", ".exp_avg", ".exp_avg_sq"};
    for (int s = 0; s < 3; ++s)
      for (size_t i = 0; i < 6; ++i) {
        Tensor* tensor = sets[s]->tensors()[i];
        const std::string name = state + "." + kReferenceNames[i] + suffixes[s];
        if (file_->contains(name)) *tensor = read(name, tensor->shape());
      }
    if (file_->contains(state + ".max_radii2D")) g.max_radii = read(state + ".max_radii2D", {count});
    return g;
  }

  void expect_state(TrainedGaussians& g, const std::string& state) {
    if (!file_->contains(state + ".xyz")) return;
    ++states_;
    TrainedGaussians wanted = read_state(state);
    ASSERT_EQ(g.count(), wanted.count()) << state;
    Gaussians* have[3] = {&g.values, &g.first_moments, &g.second_moments};
    Gaussians* want[3] = {&wanted.values, &wanted.first_moments, &wanted.second_moments};
    for (int s = 0; s < 3; ++s)
      for (size_t i = 0; i < 6; ++i)
        EXPECT_LE(relative_error(have[s]->tensors()[i]->to_host(), want[s]->tensors()[i]->to_host()), 1e-5)
            << state << " set " << s << " " << kReferenceNames[i];
    EXPECT_LE(relative_error(g.max_radii.to_host(), wanted.max_radii.to_host()), 0) << state;
  }

  int states_ = 0;  // compared
  nlohmann::json config_;
  std::unique_ptr<SafetensorsFile> file_;
  std::unique_ptr<GivenNoise> backend_;
};

TEST_P(Densify, CloneSplitPruneAndReset) {
  const std::vector<float> gradients = file_->floats("grads");
  const float extent = config_["extent"];
  DensityRules growth;
  growth.grow = true;
  growth.gradient = config_["grad_threshold"];
  growth.dense_scale = config_["percent_dense"].get<float>() * extent;

  TrainedGaussians g = read_state("s0_before");
  const std::vector<float> log_scales = g.values.log_scales.to_host();
  std::vector<float> of_small, of_large;  // gradients
  std::vector<size_t> selected;           // to be split
  for (size_t i = 0; i < gradients.size(); ++i) {
    const float largest =
        std::exp(std::max({log_scales[3 * i], log_scales[3 * i + 1], log_scales[3 * i + 2]}));
    const bool large = largest > growth.dense_scale;
    of_small.push_back(large ? 0 : gradients[i]);
    of_large.push_back(large ? gradients[i] : 0);
    if (large && gradients[i] >= growth.gradient) selected.push_back(i);
  }
  // The fixture's samples are already scaled by the standard deviation: divide it out again.
  const std::vector<float> samples = file_->floats("split.normal_samples");
  ASSERT_EQ(samples.size(), selected.size() * 6);
  for (size_t k = 0; k < samples.size(); ++k)
    backend_->normals.push_back(samples[k] /
                                std::exp(log_scales[3 * selected[k / 3 % selected.size()] + k % 3]));

  // One after the other, as the fixture has them, then both at once, as training does it.
  const auto grow = [&](TrainedGaussians& some, std::vector<float> by) {
    by.resize(static_cast<size_t>(some.count()));  // clones of the same pass have none
    some.gradient_sum = Tensor::from_host<float>(*backend_, {some.count()}, by);
    some.views = Tensor::from_host<float>(*backend_, {some.count()}, std::vector<float>(by.size(), 1.0f));
    control_density(some, growth);
  };
  grow(g, of_small);
  expect_state(g, "s1_after_clone");
  grow(g, of_large);
  expect_state(g, "s2_after_split");
  TrainedGaussians at_once = read_state("s0_before");
  grow(at_once, gradients);
  expect_state(at_once, "s2_after_split");

  DensityRules rule;
  rule.prune = true;
  rule.opacity = config_["opacity_threshold"];
  TrainedGaussians by_opacity = read_state("s2_after_split");
  by_opacity.max_radii = read("prune.max_radii2D", {g.count()});
  control_density(by_opacity, rule);
  expect_state(by_opacity, "s3_after_prune_nosize");

  rule.by_size = true;
  rule.screen_radius = config_["size_threshold"];
  rule.scale = 0.1f * extent;
  control_density(by_opacity, rule);
  expect_state(by_opacity, "s4_after_prune_size20");

  reset_opacity(by_opacity, 0.01f);
  expect_state(by_opacity, "s5_after_reset_opacity");
  EXPECT_GT(states_, 0);
}

EG4D_ON_EACH_DEVICE(Densify);

}  // namespace
}  // namespace eg4d
