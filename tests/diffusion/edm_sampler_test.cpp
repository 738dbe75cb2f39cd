#include "diffusion/edm_sampler.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace eg4d {
namespace {

VideoCondition small_condition(int frames = 3) {
  const size_t pixels = static_cast<size_t>(frames) * 2 * 2;
  return with_unconditional_half(frames, 2, 2, std::vector<float>(frames * 5, 1),
                                 std::vector<float>(pixels * 4, 2), std::vector<float>(frames * 6, 3));
}

// A network that knows the answer: v = (c_skip·x - target)/-c_out for both halves, from its own scaled input.
VideoNetwork knowing_network(float target) {
  return [target](const NetworkCall& call, std::span<float> prediction) {
    const float sigma = std::exp(4 * call.c_noise);
    const EdmScaling scaling = v_prediction_scaling(sigma);
    for (size_t i = 0; i < prediction.size(); ++i) {
      const float latent = call.input[(i / 4) * 8 + i % 4] / scaling.c_in;
      prediction[i] = (target - scaling.c_skip * latent) / scaling.c_out;
    }
  };
}

TEST(EulerSampler, ReachesWhatTheNetworkKnows) {
  EulerSampler sampler({.steps = 7}, {1, 2, 3}, knowing_network(0.75f));
  std::vector<float> latent(3 * 2 * 2 * 4);
  for (size_t i = 0; i < latent.size(); ++i) latent[i] = std::sin(static_cast<float>(i));
  sampler.start(latent);
  for (int step = 0; step < sampler.steps(); ++step) sampler.advance(step, 0, small_condition(), latent);
  for (const float value : latent) EXPECT_NEAR(value, 0.75f, 1e-3);
}

TEST(EulerSampler, HandsTheNetworkBothHalves) {
  bool called = false;
  EulerSampler sampler({.steps = 1}, {1, 2, 1}, [&](const NetworkCall& call, std::span<float> prediction) {
    called = true;
    EXPECT_EQ(call.input.size(), 2u * 3 * 2 * 2 * 8);
    EXPECT_EQ(call.input[4], 0);                          // unconditional concat
    EXPECT_EQ(call.input[call.input.size() / 2 + 4], 2);  // conditional concat
    EXPECT_EQ(call.condition->context.front(), 0);
    EXPECT_EQ(call.condition->context.back(), 1);
    EXPECT_EQ(call.condition->vector.front(), 3);
    std::fill(prediction.begin(), prediction.end(), 0.f);
  });
  std::vector<float> latent(3 * 2 * 2 * 4, 1);
  sampler.advance(0, 0, small_condition(), latent);
  EXPECT_TRUE(called);
  EXPECT_THROW(sampler.advance(0, 0, small_condition(2), latent), Error);
  EXPECT_THROW(edm_sigmas({.steps = 0}), UsageError);
}

// Guidance of 1 in every frame: the conditional half alone, and what it gives as it is.
TEST(EulerSampler, LeavesOutWhatGuidanceDoesNotNeed) {
  const auto prediction_of = [](float noisy, float concat) { return std::sin(noisy + 0.3f * concat); };
  size_t rows = 0;
  EulerSampler sampler({.steps = 5}, {1, 1, 1}, [&](const NetworkCall& call, std::span<float> prediction) {
    EXPECT_TRUE(call.conditional_only);
    EXPECT_EQ(call.input.size(), 2 * prediction.size());
    rows += prediction.size();
    for (size_t i = 0; i < prediction.size(); ++i)
      prediction[i] = prediction_of(call.input[(i / 4) * 8 + i % 4], call.input[(i / 4) * 8 + 4 + i % 4]);
  });
  std::vector<float> latent(48);
  for (size_t i = 0; i < latent.size(); ++i) latent[i] = std::cos(static_cast<float>(i));
  sampler.start(latent);
  std::vector<float> expected = latent;
  const std::vector<float> sigmas = edm_sigmas({.steps = 5});
  for (int step = 0; step < sampler.steps(); ++step) {
    sampler.advance(step, 0, small_condition(), latent);
    const EdmScaling scaling = v_prediction_scaling(sigmas[step]);
    for (size_t i = 0; i < latent.size(); ++i) {
      const float denoised =
          scaling.c_out * prediction_of(expected[i] * scaling.c_in, 2) + scaling.c_skip * expected[i];
      EXPECT_EQ(sampler.denoised()[i], denoised);
      expected[i] += (expected[i] - denoised) / sigmas[step] * (sigmas[step + 1] - sigmas[step]);
    }
  }
  EXPECT_EQ(rows, 5u * 48);
  EXPECT_EQ(latent, expected);
}

TEST(EulerSampler, StepMajorVisitsVideosInOrderAndContinues) {
  std::vector<std::pair<int, int>> visits;
  EulerSampler sampler({.steps = 4}, {1, 1, 1}, knowing_network(0.1f));
  const std::vector<VideoCondition> conditions(2, small_condition());
  std::vector<std::vector<float>> whole(2, std::vector<float>(48, 1.5f));
  auto parts = whole;
  sampler.advance_step_major(0, conditions, whole,
                             {[&](int step, int video) {
                                visits.push_back({step, video});
                              },
                              {}});
  ASSERT_EQ(visits.size(), 8u);
  EXPECT_EQ(visits[1], std::make_pair(0, 1));
  EXPECT_EQ(visits[2], std::make_pair(1, 0));

  struct Stop {};
  EXPECT_THROW(sampler.advance_step_major(0, conditions, parts,
                                          {{},
                                           [](int step) {
                                             if (step == 1) throw Stop();
                                           }}),
               Stop);
  sampler.advance_step_major(2, conditions, parts, {});
  EXPECT_EQ(parts, whole);
}

TEST(Guidance, OneFrameTakesTheSmallestScale) {
  EXPECT_EQ(guidance_scales({GuidanceShape::linear, 1.5f, 3}, 1), std::vector<float>{1.5f});
  EXPECT_EQ(guidance_scales({GuidanceShape::triangle, 1, 2.5f}, 1), std::vector<float>{1});
  EXPECT_TRUE(guidance_scales({GuidanceShape::triangle, 1, 2.5f}, 0).empty());
}

}  // namespace
}  // namespace eg4d
