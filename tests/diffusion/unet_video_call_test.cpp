#include "diffusion/unet_video_call.h"

#include <gtest/gtest.h>

#include <cmath>

#include "diffusion/edm_sampler.h"
#include "diffusion/video_checkpoint.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/temporary_folder.h"
#include "support/tiny_video_model.h"

namespace eg4d::test {
namespace {

constexpr int kFrames = 3, kSize = 8, kSteps = 3, kVideos = 3;
using Latents = std::vector<std::vector<float>>;

class UNetVideoCallTest : public OnEachDevice {
 protected:
  void SetUp() override {
    write_tiny_model(TinyModel::sv3d_p, folder_ / "model.safetensors");
    unet_ = VideoCheckpoint(folder_ / "model.safetensors").unet(*backend_);
  }

  std::vector<VideoCondition> conditions(bool both_halves) {
    std::vector<VideoCondition> all;
    for (uint32_t video = 0; video < kVideos; ++video) {
      const auto context = hash_tensor(10 + video, static_cast<size_t>(unet_->context_width()), 1),
                 concat = hash_tensor(20 + video, kSize * kSize * 4, 1),
                 vector = hash_tensor(30 + video, static_cast<size_t>(kFrames * unet_->vector_width()), 1);
      all.push_back(
          video_condition(*backend_, {kFrames, kSize, kSize, context, concat, vector}, both_halves));
    }
    return all;
  }

  Latents run(const std::vector<VideoCondition>& conditions, UNetVideoCall& network, float scale) {
    EulerSampler sampler(*backend_, {.steps = kSteps}, std::vector<float>(kFrames, scale), network);
    std::vector<Tensor> latents, concats;
    for (uint32_t video = 0; video < kVideos; ++video) {
      latents.push_back(Tensor::from_host<float>(*backend_, {kFrames, kSize, kSize, 4},
                                                 hash_tensor(video, kFrames * kSize * kSize * 4, 1)));
      sampler.start(latents.back());
      concats.push_back(conditions[video].concat);
    }
    sampler.advance_step_major(0, concats, latents, {});
    Latents host;
    for (const Tensor& latent : latents) host.push_back(latent.to_host());
    return host;
  }

  TemporaryFolder folder_;
  std::unique_ptr<Backend> backend_ = make_test_backend();
  std::unique_ptr<VideoUNet> unet_;
};

// Guidance of 1 against guidance so close to it that both halves are computed, with and without injection.
TEST_P(UNetVideoCallTest, ConditionalHalfAloneGivesWhatItGivesBesideTheOther) {
  for (const bool injects : {false, true}) {
    std::vector<Latents> results;
    std::vector<size_t> bytes;
    for (const float scale : {1.0f, std::nextafter(1.0f, 2.0f)}) {
      const std::vector<VideoCondition> all = conditions(scale != 1);
      UNetVideoCall network(*unet_, kFrames, all,
                            injects ? std::optional(AttentionInjection::Options{0.5f, true}) : std::nullopt);
      EXPECT_EQ(network.input().dim(0), kFrames * (scale == 1 ? 1 : 2));
      results.push_back(run(all, network, scale));
      bytes.push_back(injects ? network.injection()->bytes() : 0);
    }
    for (size_t video = 0; video < kVideos; ++video)
      EXPECT_LE(relative_error(results[0][video], results[1][video]), 1e-5);
    EXPECT_EQ(2 * bytes[0], bytes[1]);
  }
}

// What the device makes of c_noise is what the network makes of it itself.
TEST_P(UNetVideoCallTest, TakesTheSinusoidsOfTheTimeStep) {
  const std::vector<VideoCondition> all = conditions(true);
  const auto conditioning = unet_->condition(all[0].context, all[0].vector, kFrames);
  const Tensor x = Tensor::from_host<float>(*backend_, {2 * kFrames, kSize, kSize, 8},
                                            hash_tensor(1, 2 * kFrames * kSize * kSize * 8, 1));
  const EulerCoefficients now{.c_noise = -0.83f};
  const Tensor row = Tensor::from_bytes(*backend_, {6}, DType::f32, &now, sizeof now);
  VideoUNet::Call call(*unet_, {2 * kFrames, kFrames, kSize, kSize});
  backend_->run(Convert{.count = x.count(), .x = x.array(), .y = call.input().array()});
  backend_->run(TimestepSinusoids{.rows = call.sinusoids().dim(0),
                                  .width = call.sinusoids().dim(1),
                                  .now = static_cast<const EulerCoefficients*>(row.raw()),
                                  .y = call.sinusoids().data()});
  call.run(*conditioning);
  const std::vector<float> called = call.prediction().to_host(),
                           by_itself = unet_->forward(x, {&now.c_noise, 1}, *conditioning).to_host();
  if (current_device().is_cpu())
    EXPECT_EQ(called, by_itself);
  else  // whose sines are not the host's
    EXPECT_LE(relative_error(called, by_itself), 1e-5);
}

EG4D_ON_EACH_DEVICE(UNetVideoCallTest);

}  // namespace
}  // namespace eg4d::test
