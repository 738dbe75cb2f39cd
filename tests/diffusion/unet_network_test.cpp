#include "diffusion/unet_network.h"

#include <gtest/gtest.h>

#include <cmath>

#include "diffusion/video_checkpoint.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/temporary_folder.h"
#include "support/tiny_video_model.h"

namespace eg4d::test {
namespace {

constexpr int kFrames = 3, kSize = 8, kSteps = 3, kVideos = 3;
using Latents = std::vector<std::vector<float>>;

class UNetNetworkTest : public OnEachDevice {
 protected:
  void SetUp() override {
    write_tiny_model(TinyModel::sv3d_p, folder_ / "model.safetensors");
    unet_ = VideoCheckpoint(folder_ / "model.safetensors").unet(*backend_);
    for (uint32_t video = 0; video < kVideos; ++video)
      conditions_.push_back(with_unconditional_half(
          kFrames, kSize, kSize,
          hash_tensor(10 + video, static_cast<size_t>(kFrames * unet_->context_width()), 1),
          hash_tensor(20 + video, kFrames * kSize * kSize * 4, 1),
          hash_tensor(30 + video, static_cast<size_t>(kFrames * unet_->vector_width()), 1)));
  }

  Latents run(const EulerSampler::Observer& observer, EulerSampler sampler) {
    Latents latents;
    for (uint32_t video = 0; video < kVideos; ++video) {
      latents.push_back(hash_tensor(video, kFrames * kSize * kSize * 4, 1));
      sampler.start(latents.back());
    }
    sampler.advance_step_major(0, conditions_, latents, observer);
    return latents;
  }

  TemporaryFolder folder_;
  std::unique_ptr<Backend> backend_ = make_test_backend();
  std::unique_ptr<VideoUNet> unet_;
  std::vector<VideoCondition> conditions_;
};

// Guidance of 1 against guidance so close to it that both halves are computed, with and without injection.
TEST_P(UNetNetworkTest, ConditionalHalfAloneGivesWhatItGivesBesideTheOther) {
  for (const bool injects : {false, true}) {
    std::vector<Latents> results;
    std::vector<size_t> bytes;
    for (const float scale : {1.0f, std::nextafter(1.0f, 2.0f)}) {
      UNetNetwork network(*backend_, *unet_,
                          injects ? std::optional(AttentionInjection::Options{0.5f, true}) : std::nullopt);
      size_t rows = 0;
      const auto counted = [&](const NetworkCall& call, std::span<float> prediction) {
        rows += prediction.size() / (kSize * kSize * kLatentChannels);
        network(call, prediction);
      };
      results.push_back(run({{}, [&](int step) { network.forget(step); }},
                            EulerSampler({.steps = kSteps}, std::vector<float>(kFrames, scale), counted)));
      EXPECT_EQ(rows, static_cast<size_t>(kSteps * kVideos * kFrames * (scale == 1 ? 1 : 2)));
      bytes.push_back(injects ? network.injection()->bytes() : 0);
    }
    for (size_t video = 0; video < kVideos; ++video)
      EXPECT_LE(relative_error(results[0][video], results[1][video]), 1e-5);
    EXPECT_EQ(2 * bytes[0], bytes[1]);
  }
}

EG4D_ON_EACH_DEVICE(UNetNetworkTest);

}  // namespace
}  // namespace eg4d::test
