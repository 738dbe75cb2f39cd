// Calls that compute the outermost blocks of the video UNet alone, with what a whole one left.

#include "diffusion/step_cache.h"

#include <gtest/gtest.h>

#include "diffusion/edm_sampler.h"
#include "diffusion/unet_video_call.h"
#include "diffusion/video_checkpoint.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/temporary_folder.h"
#include "support/tiny_video_model.h"

namespace eg4d::test {
namespace {

constexpr int64_t kFrames = 3, kRows = 2 * kFrames, kSide = 8;
const VideoUNet::Call::Size kSize{kRows, kFrames, kSide, kSide};
using Values = std::vector<float>;
using Injection = std::optional<AttentionInjection::Options>;

class StepCacheTest : public OnEachDevice {
 protected:
  void SetUp() override {
    write_tiny_model(TinyModel::sv3d_p, folder_ / "model.safetensors");
    unet_ = VideoCheckpoint(folder_ / "model.safetensors").unet(*backend_);
    for (const uint32_t video : {0, 1, 2}) videos_.push_back(conditioning(video));
  }
  std::shared_ptr<const VideoUNet::Conditioning> conditioning(uint32_t seed) {
    const auto tensor = [&](Shape shape, uint32_t id) {
      const Values values = hash_tensor(id, static_cast<size_t>(element_count(shape)), 1);
      return Tensor::from_host<float>(*backend_, std::move(shape), values);
    };
    return unet_->condition(tensor({kRows, 1, unet_->context_width()}, 10 + seed),
                            tensor({kRows, unet_->vector_width()}, 20 + seed), kFrames);
  }
  // The prediction of a step of a video from the input of that number.
  Values predict(UNetVideoCall& call, int step, int video, uint32_t input) {
    const Values values = hash_tensor(100 + input, static_cast<size_t>(call.input().count()), 1);
    Tensor(call.input()).copy_from_host(values.data(), values.size() * sizeof(float));
    const float timestep = 0.1f * static_cast<float>(input);
    const Values sinusoids = hash_tensor(50, static_cast<size_t>(call.sinusoids().count()), 1, timestep);
    Tensor(call.sinusoids()).copy_from_host(sinusoids.data(), sinusoids.size() * sizeof(float));
    call.run(step, video);
    return call.prediction().to_host();
  }
  UNetVideoCall call(const StepCache& cache, const Injection& injection = {}) {
    return UNetVideoCall(*unet_, kSize, injection, videos_, cache);
  }
  static constexpr int kOutputs = 6;  // output blocks of the small network

  TemporaryFolder folder_;
  std::unique_ptr<Backend> backend_ = make_test_backend();
  std::unique_ptr<VideoUNet> unet_;
  std::vector<std::shared_ptr<const VideoUNet::Conditioning>> videos_;
};

// From the same input, what a whole call left makes the outermost blocks give what the whole network does, to
// the bit: at every depth, for every video, with injection too, whose references of every step are its own.
TEST_P(StepCacheTest, OfTheSameInputsItGivesTheWholeNetworksPrediction) {
  for (const Injection& injection : {Injection(), Injection({0.5f, true}), Injection({0.5f, false})})
    for (int depth = 1; depth < kOutputs; ++depth) {
      UNetVideoCall whole = call({}, injection), cached = call({.interval = 3, .depth = depth}, injection);
      EXPECT_EQ(cached.steps_together(), 3);
      for (int video = 0; video < 3; ++video) {
        const Values wanted = predict(whole, 0, video, 7);
        for (int step = 3; step < 6; ++step)
          EXPECT_EQ(predict(cached, step, video, 7), wanted) << "step " << step << ", depth " << depth;
      }
    }
}

// Of another input it is neither that input's nor the earlier one's; and it goes with what was left.
TEST_P(StepCacheTest, TakesTheDeepPartFromTheLastWholeStep) {
  UNetVideoCall whole = call({}), cached = call({.interval = 2, .depth = 1});
  const Values first = predict(whole, 0, 0, 1), second = predict(whole, 0, 0, 2);
  EXPECT_EQ(predict(cached, 0, 0, 1), first);
  const Values of_the_first = predict(cached, 1, 0, 2);
  EXPECT_NE(of_the_first, first);
  EXPECT_NE(of_the_first, second);
  predict(cached, 2, 0, 3);
  EXPECT_NE(predict(cached, 3, 0, 2), of_the_first);
  predict(cached, 0, 0, 1);
  EXPECT_EQ(predict(cached, 1, 0, 2), of_the_first);
  // The deepest computes nearly everything.
  UNetVideoCall deepest = call({.interval = 2, .depth = kOutputs - 1});
  predict(deepest, 0, 0, 1);
  EXPECT_LT(relative_error(predict(deepest, 1, 0, 2), second), relative_error(of_the_first, second));
}

// Keys and values of the outermost blocks are mixed with what the first video left in the same step.
TEST_P(StepCacheTest, InjectsInEveryStep) {
  UNetVideoCall plain = call({.interval = 2, .depth = 1}),
                injecting = call({.interval = 2, .depth = 1}, AttentionInjection::Options{0.5f, true}),
                of_no_strength = call({.interval = 2, .depth = 1}, AttentionInjection::Options{0, true});
  std::vector<Values> predictions[3];
  UNetVideoCall* calls[] = {&plain, &injecting, &of_no_strength};
  for (int i = 0; i < 3; ++i)
    for (const int video : {0, 1})
      for (const int step : {0, 1})
        predictions[i].push_back(predict(*calls[i], step, video, static_cast<uint32_t>(10 * video + step)));
  for (const size_t of_first_video : {0, 1})
    EXPECT_EQ(predictions[1][of_first_video], predictions[0][of_first_video]);
  for (const size_t of_later_video : {2, 3})
    EXPECT_NE(predictions[1][of_later_video], predictions[0][of_later_video]);
  EXPECT_EQ(predictions[2], predictions[0]);
}

TEST_P(StepCacheTest, WhatDoesNotFitIsRefused) {
  UNetVideoCall cached = call({.interval = 2, .depth = 1});
  EXPECT_ERROR(predict(cached, 1, 0, 1), "step 1 of a video comes before its step 0");
  predict(cached, 0, 0, 1);
  EXPECT_ERROR(predict(cached, 1, 1, 1), "step 1 of a video comes before its step 0");
  predict(cached, 1, 0, 1);
  EXPECT_ERROR(call({.interval = 2, .depth = kOutputs}), "saves nothing");
  EXPECT_ERROR(call({.interval = 0, .depth = 1}), "at least 1");
  EXPECT_ERROR(call({.interval = 2, .depth = 0}), "at least 1");
}

EG4D_ON_EACH_DEVICE(StepCacheTest);

}  // namespace
}  // namespace eg4d::test
