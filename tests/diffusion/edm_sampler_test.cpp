#include "diffusion/edm_sampler.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "diffusion/conditioning.h"
#include "diffusion/video_condition.h"
#include "support/expect_error.h"
#include "support/fake_video_call.h"
#include "support/golden.h"
#include "support/reference_sampling.h"

namespace eg4d {
namespace {

using test::FakeVideoCall;
using Values = std::vector<float>;

constexpr int kFrames = 3, kHeight = 2, kWidth = 4;
constexpr size_t kSize = size_t{kFrames} * kHeight * kWidth * kLatentChannels;

class EulerSamplerTest : public testing::Test {
 protected:
  Tensor latent(const Values& values) {
    return Tensor::from_host<float>(*backend_, {kFrames, kHeight, kWidth, kLatentChannels}, values);
  }
  Tensor latent(uint32_t seed) { return latent(test::hash_tensor(seed, kSize, 2)); }
  Tensor concat(const Values& values) {
    const auto rows = static_cast<int64_t>(values.size() / (kSize / kFrames));
    return Tensor::from_host<float>(*backend_, {rows, kHeight, kWidth, kLatentChannels}, values);
  }
  // One row for every row of the network.
  Tensor concat(size_t halves) { return concat(test::hash_tensor(77, halves * kSize, 2)); }
  FakeVideoCall network(int halves, FakeVideoCall::Predict predict) {
    return {*backend_, halves * kFrames, kHeight, kWidth, std::move(predict)};
  }

  std::unique_ptr<Backend> backend_ = make_cpu_backend({.guard_memory = true});
};

// Mixes the noisy latent and concat.
Values mixture(int, int, const Values& input) {
  Values prediction;
  for (size_t i = 0; i < input.size() / 2; ++i)
    prediction.push_back(std::sin(input[i / 4 * 8 + i % 4] + 0.3f * input[i / 4 * 8 + 4 + i % 4]));
  return prediction;
}

TEST_F(EulerSamplerTest, ReachesWhatTheNetworkKnows) {
  const EdmSchedule schedule{.steps = 7};
  const Values sigmas = edm_sigmas(schedule);
  // v = (c_skip·x - target)/-c_out for both halves, from its own scaled input.
  FakeVideoCall knowing = network(2, [&](int step, int, const Values& input) {
    const EdmScaling scaling = v_prediction_scaling(sigmas[static_cast<size_t>(step)]);
    Values prediction;
    for (size_t i = 0; i < input.size() / 2; ++i) {
      const float x = input[i / 4 * 8 + i % 4] / scaling.c_in;
      prediction.push_back((0.75f - scaling.c_skip * x) / scaling.c_out);
    }
    return prediction;
  });
  EulerSampler sampler(*backend_, schedule, {1, 2, 3}, knowing);
  const Tensor x = latent(1);
  sampler.start(x);
  for (int step = 0; step < sampler.steps(); ++step) sampler.advance(step, 0, concat(2), x);
  for (const float value : x.to_host()) EXPECT_NEAR(value, 0.75f, 1e-3);
}

// Every number on the way, to the bit: with guidance in some frames, and with the conditional half alone.
TEST_F(EulerSamplerTest, EveryStepIsThePlainOne) {
  const EdmSchedule schedule{.steps = 5};
  const Values sigmas = edm_sigmas(schedule);
  const auto coefficients = euler_coefficients(sigmas);
  for (const Values& scales : {Values{1, 2.5f, 1.75f}, Values{1, 1, 1}}) {
    const bool alone = !needs_unconditional(scales);
    const size_t halves = alone ? 1 : 2;
    Values seen;
    FakeVideoCall fake = network(static_cast<int>(halves), [&](int step, int video, const Values& input) {
      seen = input;
      return mixture(step, video, input);
    });
    EulerSampler sampler(*backend_, schedule, scales, fake);
    const Tensor x = latent(1), other = concat(halves);
    Values plain = x.to_host();
    sampler.start(x);
    for (float& value : plain) value *= std::sqrt(1 + sigmas[0] * sigmas[0]);
    EXPECT_EQ(x.to_host(), plain);
    for (int step = 0; step < sampler.steps(); ++step) {
      const EulerCoefficients& now = coefficients[static_cast<size_t>(step)];
      const Values input = test::plain_network_input(plain, other.to_host(), now.c_in);
      sampler.advance(step, 0, other, x);
      EXPECT_EQ(seen, input);
      const Values denoised = test::plain_denoised(mixture(step, 0, input), plain, now);
      test::plain_euler_step(test::plain_guided(denoised, scales, alone), now, plain);
      EXPECT_EQ(x.to_host(), plain);
      // Of c_noise, in every row.
      const std::vector<double> times(halves * kFrames, now.c_noise);
      EXPECT_EQ(fake.sinusoids().to_host(), sinusoidal_embedding(times, FakeVideoCall::kSinusoidWidth));
    }
  }
}

TEST_F(EulerSamplerTest, AConcatRowStandsForAllFramesOfAHalf) {
  const Values one = test::hash_tensor(5, 2 * kSize / kFrames, 2);
  Values all;
  for (size_t half = 0; half < 2; ++half)
    for (int frame = 0; frame < kFrames; ++frame)
      all.insert(all.end(), one.begin() + half * one.size() / 2, one.begin() + (half + 1) * one.size() / 2);
  std::vector<Values> results;
  for (const Values& values : {one, all}) {
    FakeVideoCall fake = network(2, mixture);
    EulerSampler sampler(*backend_, {.steps = 2}, {1, 2, 3}, fake);
    const Tensor x = latent(1);
    sampler.advance(0, 0, concat(values), x);
    results.push_back(x.to_host());
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST_F(EulerSamplerTest, WhatDoesNotFitIsRefused) {
  FakeVideoCall both = network(2, mixture), alone = network(1, mixture);
  EXPECT_THROW(EulerSampler(*backend_, {.steps = 2}, {1, 1, 1}, both), Error);
  EXPECT_THROW(EulerSampler(*backend_, {.steps = 2}, {1, 2, 1}, alone), Error);
  EulerSampler sampler(*backend_, {.steps = 2}, {1, 2, 1}, both);
  const Tensor x = latent(1), fewer = Tensor::zeros(*backend_, {2, kHeight, kWidth, kLatentChannels});
  EXPECT_THROW(sampler.advance(0, 0, concat(2), fewer), Error);
  EXPECT_THROW(sampler.advance(0, 0, Tensor::zeros(*backend_, {4, kHeight, kWidth, 4}), x), Error);
  EXPECT_THROW(sampler.advance(2, 0, concat(2), x), Error);
  EXPECT_THROW(edm_sigmas({.steps = 0}), UsageError);
}

TEST_F(EulerSamplerTest, StepMajorVisitsVideosInOrderAndContinues) {
  std::vector<std::pair<int, int>> visits, runs;
  FakeVideoCall fake = network(1, [&](int step, int video, const Values& input) {
    runs.push_back({step, video});
    return mixture(step, video, input);
  });
  EulerSampler sampler(*backend_, {.steps = 4}, {1, 1, 1}, fake);
  const std::vector<Tensor> concats(2, concat(1));
  const std::vector<Tensor> whole = {latent(1), latent(2)}, parts = {latent(1), latent(2)};
  sampler.advance_step_major(0, concats, whole,
                             {[&](int step, int video) {
                                visits.push_back({step, video});
                              },
                              {}});
  ASSERT_EQ(visits.size(), 8u);
  EXPECT_EQ(visits[1], std::make_pair(0, 1));
  EXPECT_EQ(visits[2], std::make_pair(1, 0));
  EXPECT_EQ(runs, visits);

  struct Stop {};
  EXPECT_THROW(sampler.advance_step_major(0, concats, parts,
                                          {{},
                                           [](int step) {
                                             if (step == 1) throw Stop();
                                           }}),
               Stop);
  sampler.advance_step_major(2, concats, parts, {});
  for (size_t video = 0; video < 2; ++video) EXPECT_EQ(parts[video].to_host(), whole[video].to_host());
}

// With a network that keeps something from step to step.
TEST_F(EulerSamplerTest, StepsThatBelongTogetherAreMadeTogether) {
  class Together : public FakeVideoCall {
   public:
    using FakeVideoCall::FakeVideoCall;
    int steps_together() const override { return 3; }
  };
  std::vector<std::pair<int, int>> runs;
  std::vector<int> kept;
  Together fake(*backend_, kFrames, kHeight, kWidth, [&](int step, int video, const Values& input) {
    runs.push_back({step, video});
    return mixture(step, video, input);
  });
  EulerSampler sampler(*backend_, {.steps = 5}, {1, 1, 1}, fake);
  const std::vector<Tensor> concats(2, concat(1));
  const std::vector<Tensor> whole = {latent(1), latent(2)}, parts = {latent(1), latent(2)};
  sampler.advance_step_major(0, concats, whole, {{}, [&](int step) { kept.push_back(step); }});
  using Runs = std::vector<std::pair<int, int>>;
  EXPECT_EQ(runs, (Runs{{0, 0}, {1, 0}, {2, 0}, {0, 1}, {1, 1}, {2, 1}, {3, 0}, {4, 0}, {3, 1}, {4, 1}}));
  EXPECT_EQ(kept, (std::vector<int>{2, 4}));
  for (size_t video = 0; video < 2; ++video) {
    for (int step = 0; step < 3; ++step)
      sampler.advance(step, static_cast<int>(video), concats[0], parts[video]);
  }
  EXPECT_ERROR(sampler.advance_step_major(2, concats, parts, {}), "3 steps each belong together");
  sampler.advance_step_major(3, concats, parts, {});
  for (size_t video = 0; video < 2; ++video) EXPECT_EQ(parts[video].to_host(), whole[video].to_host());
}

// ---------------------------------------------------------------- few steps

// AnimateLCM takes every tenth of the 40 levels for four steps.
TEST(ConsistencySampling, StandsOnTheLevelsOfTheDistillation) {
  const EdmSchedule schedule{.steps = 4, .method = SamplingMethod::lcm};
  const Values sigmas = edm_sigmas(schedule);
  ASSERT_EQ(sigmas.size(), 5u);
  for (int step = 0; step < 4; ++step) {
    const double low = std::pow(0.002, 1 / 7.0), high = std::pow(700.0, 1 / 7.0);
    const double wanted = std::pow(high + 10 * step / 39.0 * (low - high), 7);
    EXPECT_NEAR(sigmas[static_cast<size_t>(step)] / wanted, 1, 1e-5);
  }
  EXPECT_EQ(sigmas[4], 0);
  EXPECT_EQ(edm_sigmas({.steps = kDistilledLevels, .method = SamplingMethod::lcm}),
            edm_sigmas({.steps = kDistilledLevels}));
  EXPECT_THROW(edm_sigmas({.steps = kDistilledLevels + 1, .method = SamplingMethod::lcm}), UsageError);
}

// x0 = c_skip·x + c_out·network(c_in·x), guided; x = x0 + next level·noise: in double precision.
TEST_F(EulerSamplerTest, ConsistencyStepsAreThoseOfTheirDefinition) {
  const EdmSchedule schedule{.steps = 3, .method = SamplingMethod::lcm};
  const Values sigmas = edm_sigmas(schedule), scales = {1, 1.5f, 1.25f};
  FakeVideoCall fake = network(2, mixture);
  EulerSampler sampler(*backend_, schedule, scales, fake);
  const Tensor x = latent(1), other = concat(2);
  const Values unit = x.to_host(), condition = other.to_host();
  std::vector<double> wanted(unit.begin(), unit.end());
  for (double& value : wanted) value *= std::sqrt(1.0 + double{sigmas[0]} * sigmas[0]);
  const auto noise_of = [](int step) {
    return test::hash_tensor(200 + static_cast<uint32_t>(step), kSize, 2);
  };
  for (int step = 0; step < 3; ++step) {
    const double sigma = sigmas[static_cast<size_t>(step)], next = sigmas[static_cast<size_t>(step) + 1];
    const double skip = 1 / (sigma * sigma + 1), out = -sigma / std::sqrt(sigma * sigma + 1),
                 in = 1 / std::sqrt(sigma * sigma + 1);
    const Values noise = noise_of(step);
    std::vector<double> after(kSize);
    for (size_t i = 0; i < kSize; ++i) {
      const auto denoised = [&](size_t half) {
        const double network = std::sin(in * wanted[i] + double{0.3f} * condition[half * kSize + i]);
        return skip * wanted[i] + out * network;
      };
      const double scale = scales[i / (kSize / kFrames)];
      after[i] = denoised(0) + scale * (denoised(1) - denoised(0)) + next * noise[i];
    }
    wanted = after;
  }
  sampler.start(x);
  std::vector<int> asked;
  sampler.advance_step_major(0, {other}, {x}, {{}, {}, [&](int step, int) {
                                                 asked.push_back(step);
                                                 return latent(noise_of(step));
                                               }});
  EXPECT_EQ(asked, (std::vector<int>{0, 1}));  // none after the last step
  EXPECT_LE(test::relative_error(x.to_host(), Values(wanted.begin(), wanted.end())), 1e-5);
  EXPECT_THROW(sampler.add_noise(0, Tensor::zeros(*backend_, {2}), x), Error);
}

// A network of one operation: it passes the noisy latents on.
class PassingCall : public FakeVideoCall {
 public:
  explicit PassingCall(Backend& backend) : FakeVideoCall(backend, kFrames * 2, kHeight, kWidth, {}) {}
  void run(int, int) override {
    input().backend().run(CopyRows{.rows = prediction().count() / 4,
                                   .width = 4,
                                   .from = input().array(),
                                   .from_pitch = 8,
                                   .to = prediction().array(),
                                   .to_pitch = 4});
  }
};

// All steps of a video are one recorded step, replayed with the row of coefficients that stands there.
TEST_F(EulerSamplerTest, AStepIsRecordedOnceAndReplayed) {
  PassingCall passing(*backend_);
  EulerSampler sampler(*backend_, {.steps = 6}, {1, 2, 3}, passing);
  const Tensor called = latent(1), replayed = latent(1), other = concat(2);
  const auto step_of_video = backend_->record([&] { sampler.run(0, 0, other, replayed); });
  for (int step = 0; step < sampler.steps(); ++step) {
    sampler.advance(step, 0, other, called);
    sampler.select(step);
    backend_->replay(*step_of_video);
    EXPECT_EQ(replayed.to_host(), called.to_host());
  }
  EXPECT_NE(called.to_host(), latent(1).to_host());
}

TEST_F(EulerSamplerTest, ConditionsOfAPicture) {
  const Values context = {1, 2, 3}, picture = test::hash_tensor(3, kSize / kFrames, 2),
               vector = test::hash_tensor(4, kFrames * 5, 2);
  const auto make = [&](bool both) {
    return video_condition(*backend_, {kFrames, kHeight, kWidth, context, picture, vector}, both);
  };
  const VideoCondition both = make(true), alone = make(false);
  EXPECT_EQ(both.context.shape(), (Shape{2 * kFrames, 1, 3}));
  EXPECT_EQ(both.context.to_host(), (Values{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 1, 2, 3, 1, 2, 3}));
  EXPECT_EQ(alone.context.to_host(), (Values{1, 2, 3, 1, 2, 3, 1, 2, 3}));
  Values twice = vector, zeros(picture.size());
  twice.insert(twice.end(), vector.begin(), vector.end());
  EXPECT_EQ(both.vector.to_host(), twice);
  EXPECT_EQ(alone.vector.to_host(), vector);
  EXPECT_EQ(alone.concat.to_host(), picture);
  zeros.insert(zeros.end(), picture.begin(), picture.end());
  EXPECT_EQ(both.concat.to_host(), zeros);
  EXPECT_EQ(both.concat.shape(), (Shape{2, kHeight, kWidth, 4}));
}

TEST(Guidance, OneFrameTakesTheSmallestScale) {
  EXPECT_EQ(guidance_scales({GuidanceShape::linear, 1.5f, 3}, 1), std::vector<float>{1.5f});
  EXPECT_EQ(guidance_scales({GuidanceShape::triangle, 1, 2.5f}, 1), std::vector<float>{1});
  EXPECT_TRUE(guidance_scales({GuidanceShape::triangle, 1, 2.5f}, 0).empty());
}

}  // namespace
}  // namespace eg4d
