// Settings that the published code has as switches.

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "backend/backend.h"
#include "core/config.h"
#include "pipeline/presets.h"
#include "splat/evaluation.h"
#include "splat/schedule.h"
#include "splat/trainer.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/random_values.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"
#include "support/tiny_options.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

class ReferenceSwitches : public test::OnEachDevice {
 protected:
  Renderer::Deformed deformed(const Model& model) {
    Renderer renderer(*backend_, render_options(model.info.options));
    renderer.deform(model.gaussians, model.active_field(), 0.7f, 0.7f, false);
    return renderer.deformed().clone();
  }
  Trainer trainer(const ReconstructOptions& options, const TrainingViews& views) {
    return Trainer(*backend_, options, views, start(), 4);
  }
  static PointCloud start() {
    PointCloud cloud;
    Philox random(5);
    cloud.positions = test::uniform_values(random, 3 * 60, -0.5f, 0.5f);
    cloud.colors.assign(cloud.positions.size(), 0.5f);
    return cloud;
  }
  test::TemporaryFolder folder_;
  std::unique_ptr<Backend> backend_ = test::make_test_backend();
};

TEST_P(ReferenceSwitches, ScaleAndRotationStayWhereTheirChangesAreOff) {
  Model model = test::tiny_model(*backend_, 30, 3);
  const Renderer::Deformed all = deformed(model);
  model.info.options.deformation.scale = false;
  const Renderer::Deformed no_scale = deformed(model);
  model.info.options.deformation.scale = true;
  model.info.options.deformation.rotation = false;
  const Renderer::Deformed no_rotation = deformed(model);
  model.info.deforms = false;
  const Renderer::Deformed canonical = deformed(model);
  EXPECT_NE(all.scales.to_host(), canonical.scales.to_host());
  EXPECT_EQ(no_scale.scales.to_host(), canonical.scales.to_host());
  EXPECT_EQ(no_scale.rotations.to_host(), all.rotations.to_host());
  EXPECT_NE(all.rotations.to_host(), canonical.rotations.to_host());
  EXPECT_EQ(no_rotation.rotations.to_host(), canonical.rotations.to_host());
  EXPECT_EQ(no_rotation.means.to_host(), all.means.to_host());
}

// The heads that are off get no gradient, so that training leaves them as they were; the others move.
TEST_P(ReferenceSwitches, WhatIsOffIsNotTrained) {
  const TrainingViews views = test::tiny_scene(*backend_, 3, 2, 24, 20);
  ReconstructOptions options = test::tiny_options(0, 10);
  options.density.from = 1000;
  options.deformation.scale = options.deformation.rotation = false;
  Trainer trainer = this->trainer(options, views);
  const std::vector<float> before = trainer.field().network.to_host();
  while (!trainer.finished()) trainer.step();
  const std::vector<float> after = trainer.field().network.to_host();
  for (size_t head = 0; head < kHeadCount; ++head) {
    const DeformationField::Layer& last = trainer.field().head_layers[2 * head + 1];
    const auto begin = static_cast<size_t>(last.weight);
    const size_t count = static_cast<size_t>(last.in) * static_cast<size_t>(last.out);
    const bool moved = !std::equal(before.begin() + static_cast<ptrdiff_t>(begin),
                                   before.begin() + static_cast<ptrdiff_t>(begin + count),
                                   after.begin() + static_cast<ptrdiff_t>(begin));
    const bool off = head == static_cast<size_t>(Head::log_scale) ||
                     head == static_cast<size_t>(Head::quaternion) ||
                     head == static_cast<size_t>(Head::opacity);
    EXPECT_EQ(moved, !off) << last.name;
  }
}

// Against finite differences: the direction of colours carries a gradient to where Gaussians are.
TEST_P(ReferenceSwitches, ColoursFollowTheDeformedPlace) {
  Model model = test::tiny_model(*backend_, 1, 3);
  const TrainingViews views = test::tiny_scene(*backend_, 2, 2, 32, 32);
  const auto picture = [&] {
    Renderer renderer(*backend_, render_options(model.info.options));
    renderer.deform(model.gaussians, model.active_field(), 0.7f, 0.7f, false);
    return renderer.render(views[0].camera).image.to_host();
  };
  const std::vector<float> canonical = picture();
  model.info.options.gaussian.sh_direction = ShDirection::deformed;
  const std::vector<float> deformed_direction = picture();
  EXPECT_NE(canonical, deformed_direction);

  // A model that stands where the deformed one is has the same colours either way.
  Model moved = model;
  moved.gaussians = model.gaussians.clone();
  const Renderer::Deformed at = deformed(model);
  moved.gaussians.positions = at.means.clone();
  moved.info.deforms = false;
  Renderer renderer(*backend_, render_options(model.info.options));
  renderer.show(moved.gaussians, at);
  EXPECT_EQ(renderer.render(views[0].camera).image.to_host(), deformed_direction);
}

TEST_P(ReferenceSwitches, TheDeformedDirectionsGradientIsRight) {
  Model model = test::tiny_model(*backend_, 3, 3);
  model.info.options.gaussian.sh_direction = ShDirection::deformed;
  const TrainingViews views = test::tiny_scene(*backend_, 2, 2, 32, 32);
  // The sum of the picture, weighted by random numbers.
  Philox random(9);
  const std::vector<float> weights = test::uniform_values(random, 32 * 32 * 3, 0.0f, 1.0f);
  const Tensor d_image = Tensor::from_host<float>(*backend_, {32, 32, 3}, weights);
  const auto value = [&] {
    Renderer renderer(*backend_, render_options(model.info.options));
    renderer.deform(model.gaussians, model.active_field(), 0.7f, 0.7f, false);
    const std::vector<float> image = renderer.render(views[0].camera).image.to_host();
    double sum = 0;
    for (size_t i = 0; i < image.size(); ++i) sum += static_cast<double>(image[i]) * weights[i];
    return sum;
  };
  Gradients gradients = Gradients::zeros_like(model.gaussians, model.active_field());
  Renderer renderer(*backend_, render_options(model.info.options));
  renderer.deform(model.gaussians, model.active_field(), 0.7f, 0.7f, true);
  renderer.render(views[0].camera);
  renderer.render_backward(d_image, gradients);
  renderer.deform_backward(gradients);
  const std::vector<float> network = model.field.network.to_host(), gradient = gradients.network.to_host();
  const DeformationField::Layer& last = model.field.head_layers[2 * static_cast<size_t>(Head::position) + 1];
  for (int axis = 0; axis < 3; ++axis) {  // the bias of the position head moves all Gaussians
    const auto at = static_cast<size_t>(last.bias + axis);
    const auto shifted = [&](float by) {
      std::vector<float> values = network;
      values[at] += by;
      model.field.network.copy_from_host(values.data(), model.field.network.bytes());
      return value();
    };
    const double step = 2e-3, numeric = (shifted(2e-3f) - shifted(-2e-3f)) / (2 * step);
    EXPECT_NEAR(gradient[at], numeric, 0.03 * std::abs(numeric) + 0.05) << axis;
  }
}

TEST_P(ReferenceSwitches, ViewsAreDrawnWithReplacement) {
  const TrainingViews views = test::tiny_scene(*backend_, 3, 2, 16, 16);
  ReconstructOptions::Schedule options;
  ViewSchedule epochs(views, options, 3);
  options.replacement = true;
  ViewSchedule draws(views, options, 3);
  std::vector<int> counts(views.size()), first;
  bool repeated = false;
  for (int i = 1; i <= 600; ++i) {
    const std::vector<int> drawn = draws.views(Stage::fine, i);
    ASSERT_EQ(drawn.size(), 1u);
    ++counts[static_cast<size_t>(drawn[0])];
    if (i <= 6) first.push_back(drawn[0]);
  }
  for (int i = 1; i <= 600; i += 6) {
    std::set<int> seen;
    for (int k = 0; k < 6; ++k) seen.insert(draws.views(Stage::fine, i + k)[0]);
    repeated |= seen.size() < 6;
  }
  EXPECT_TRUE(repeated);
  for (const int count : counts) EXPECT_NEAR(count, 100, 40);
  ViewSchedule again(views, options, 3);
  EXPECT_EQ(again.views(Stage::fine, 4), draws.views(Stage::fine, 4));  // a function of the iteration
  options.views = 2;
  ViewSchedule pairs(views, options, 3);
  for (int i = 1; i <= 20; ++i) {
    const std::vector<int> pair = pairs.views(Stage::coarse, i);
    ASSERT_EQ(pair.size(), 2u);
    EXPECT_NE(pair[0], pair[1]);
    EXPECT_EQ(views[static_cast<size_t>(pair[0])].time, views[static_cast<size_t>(pair[1])].time);
  }
}

// With thresholds that nothing reaches in one stage, only the other one grows.
TEST_P(ReferenceSwitches, ThresholdsDifferByStageAndIteration) {
  const TrainingViews views = test::tiny_scene(*backend_, 3, 2, 24, 20);
  const auto counts = [&](const ReconstructOptions& options) {
    Trainer trainer = this->trainer(options, views);
    std::vector<int64_t> all;
    while (!trainer.finished()) {
      trainer.step();
      if (trainer.iteration() % 10 == 0) all.push_back(trainer.gaussian_count());
    }
    return all;
  };
  ReconstructOptions options = test::tiny_options(20, 40);
  options.schedule.random_resolution = false;
  options.density.from = 5;
  options.density.until = 39;
  options.density.interval = 10;
  options.density.gradient = 1e-9f;
  options.density.reset_at_start = false;
  options.density.gradient_coarse = 1e9f;
  std::vector<int64_t> all = counts(options);
  EXPECT_EQ(all[1], 60);  // the end of the coarse stage
  EXPECT_GT(all.back(), 60);
  options.density.gradient_coarse = -1;
  EXPECT_GT(counts(options)[1], 60);
  options.density.gradient_coarse = 1e9f;
  options.density.gradient_after = 1e9f;  // far above already at the first event
  EXPECT_EQ(counts(options).back(), 60);
}

TEST_P(ReferenceSwitches, PruningHasAStartOfItsOwn) {
  const TrainingViews views = test::tiny_scene(*backend_, 3, 2, 24, 20);
  ReconstructOptions options = test::tiny_options(0, 30);
  options.schedule.random_resolution = false;
  options.density.from = 1000;  // nothing grows
  options.density.prune_interval = 10;
  options.density.prune_opacity = 0.9999f;  // everything is fainter: one Gaussian stays
  options.density.reset_at_start = false;
  const auto remaining = [&](int prune_from, int iterations) {
    options.density.prune_from = prune_from;
    Trainer trainer = this->trainer(options, views);
    for (int i = 0; i < iterations; ++i) trainer.step();
    return trainer.gaussian_count();
  };
  EXPECT_EQ(remaining(-1, 30), 60);
  EXPECT_EQ(remaining(15, 19), 60);
  EXPECT_EQ(remaining(15, 20), 1);
  EXPECT_EQ(remaining(5, 10), 1);
}

TEST_P(ReferenceSwitches, TheDNerfPresetIsThePublishedConfiguration) {
  ReconstructOptions options;
  ConfigSchema schema;
  options.bind(schema);
  schema.apply_preset("dnerf", reconstruct_presets());
  EXPECT_EQ(options.schedule.coarse_iterations, 3000);
  EXPECT_EQ(options.schedule.fine_iterations, 20000);
  EXPECT_EQ(options.deformation.width, 64);
  EXPECT_EQ(options.deformation.depth, 1);
  EXPECT_FALSE(options.deformation.color);
  EXPECT_EQ(options.gaussian.sh_direction, ShDirection::deformed);
  EXPECT_EQ(options.regularization.time_l1, 0);
  EXPECT_EQ(options.density.prune_interval, 8000);
}

// On a training picture's own colours, alpha makes the difference: opacity has to be right.
TEST_P(ReferenceSwitches, RandomBackgroundsAreAFunctionOfTheIteration) {
  TrainingViews views = test::tiny_scene(*backend_, 3, 2, 24, 20);
  ReconstructOptions options = test::tiny_options(0, 25);
  options.density.from = 1000;
  options.data.random_background = true;
  EXPECT_ERROR(trainer(options, views), "transparency");
  for (TrainingView& view : views) {  // what is white was nothing
    const std::vector<uint8_t> rgb = view.picture.to_host<uint8_t>();
    for (size_t i = 0; i < rgb.size(); i += 3) {
      const bool empty = rgb[i] == 255 && rgb[i + 1] == 255 && rgb[i + 2] == 255;
      view.rgba.insert(view.rgba.end(),
                       {rgb[i], rgb[i + 1], rgb[i + 2], static_cast<uint8_t>(empty ? 0 : 255)});
    }
  }
  Trainer a = trainer(options, views), b = trainer(options, views);
  while (!a.finished()) {
    a.step();
    b.step();
    if (b.iteration() == 13) {  // stopped in the middle of what was planned
      const std::filesystem::path file = folder_ / "state.safetensors";
      b.prepare_state("").write(file);
      Trainer continued = trainer(options, views);
      continued.load_state(file);
      while (continued.iteration() < 20) continued.step();
      while (a.iteration() < 20) a.step();
      EXPECT_TRUE(test::same_bits(a.gaussians().opacity_logits.to_host(),
                                  continued.gaussians().opacity_logits.to_host()));
      return;
    }
  }
}

EG4D_ON_EACH_DEVICE(ReferenceSwitches);

}  // namespace
}  // namespace eg4d
