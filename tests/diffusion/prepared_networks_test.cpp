// Network calls that are recorded once give the bits of calling the network, allocate nothing and copy
// nothing to or from the host.

#include <gtest/gtest.h>

#include "diffusion/control_checkpoint.h"
#include "diffusion/image_unet_frame.h"
#include "diffusion/unet_video_call.h"
#include "diffusion/video_checkpoint.h"
#include "support/counting_backend.h"
#include "support/expect_error.h"
#include "support/hashed_weights.h"
#include "support/places.h"
#include "support/random_values.h"
#include "support/temporary_folder.h"
#include "support/tiny_image_model.h"
#include "support/tiny_video_model.h"

namespace eg4d::test {
namespace {

void write(const Tensor& to, const Tensor& from) {
  to.backend().run(Convert{.count = to.count(), .x = from.array(), .y = to.array()});
}

Tensor random(Backend& backend, const Shape& shape, uint64_t seed) {
  Philox numbers(seed);
  return Tensor::from_host<float>(backend, shape, uniform_values(numbers, element_count(shape), -1.0f, 1.0f));
}

constexpr int64_t kFrames = 3, kRows = 2 * kFrames, kSide = 8;
const VideoUNet::Call::Size kSize{kRows, kFrames, kSide, kSide};

class PreparedVideoCall : public testing::Test {
 protected:
  PreparedVideoCall() {
    write_tiny_model(TinyModel::sv3d_p, folder_ / "model.safetensors");
    for (CountingBackend* backend : {&recording_, &calling_})
      networks_.push_back(VideoCheckpoint(folder_ / "model.safetensors").unet(*backend));
  }
  static std::shared_ptr<const VideoUNet::Conditioning> condition(Backend& backend, VideoUNet& network,
                                                                  uint64_t seed) {
    return network.condition(random(backend, {kRows, 1, network.context_width()}, seed),
                             random(backend, {kRows, network.vector_width()}, seed + 1), kFrames);
  }
  // Three videos, step by step: every prediction.
  std::vector<std::vector<float>> paint(CountingBackend& backend, VideoUNet& network,
                                        const std::optional<AttentionInjection::Options>& injection) {
    std::vector<std::shared_ptr<const VideoUNet::Conditioning>> videos;
    for (const uint64_t seed : {10, 20, 30}) videos.push_back(condition(backend, network, seed));
    UNetVideoCall call(network, kSize, injection, videos);
    std::vector<std::vector<float>> predictions;
    for (int step = 0; step < 2; ++step)
      for (int video = 0; video < 3; ++video) {
        write(call.input(), random(backend, call.input().shape(), 100 + 10 * video + step));
        write(call.sinusoids(), random(backend, call.sinusoids().shape(), 200 + step));
        {
          const NothingCrosses inside(backend);
          call.run(step, video);
        }
        predictions.push_back(call.prediction().to_host());
      }
    return predictions;
  }

  TemporaryFolder folder_;
  CountingBackend recording_, calling_{make_cpu_backend(), CountingBackend::Recordings::rerun};
  std::vector<std::unique_ptr<VideoUNet>> networks_;
};

TEST_F(PreparedVideoCall, GivesWhatForwardDoes) {
  VideoUNet& network = *networks_[0];
  VideoUNet::Call call(network, kSize);
  for (const uint64_t seed : {1, 2, 3}) {
    const auto conditioning = condition(recording_, network, seed);
    const Tensor x = random(recording_, call.input().shape(), seed + 5);
    const float step = 0.1f * static_cast<float>(seed);
    const std::vector<float> wanted = network.forward(x, {&step, 1}, *conditioning).to_host();
    write(call.input(), x);
    call.set_timestep(step);
    {
      const NothingCrosses inside(recording_);
      call.run(*conditioning);
    }
    EXPECT_TRUE(same_bits(call.prediction().to_host(), wanted)) << seed;
  }
  EXPECT_EQ(recording_.counts().recorded, 1);
}

TEST_F(PreparedVideoCall, WithInjectionFirstAndLaterVideos) {
  for (const bool ema : {false, true}) {
    recording_.take();
    const AttentionInjection::Options options{0.5f, ema};
    const auto recorded = paint(recording_, *networks_[0], options);
    EXPECT_EQ(recording_.counts().recorded, 2);  // the first video's, and that of the others
    EXPECT_EQ(recorded, paint(calling_, *networks_[1], options));
    const auto plain = paint(calling_, *networks_[1], {});
    for (const size_t first : {0, 3}) EXPECT_EQ(recorded[first], plain[first]);
    for (const size_t later : {1, 2, 4, 5}) EXPECT_NE(recorded[later], plain[later]);
    // Of no strength, the references change nothing.
    EXPECT_EQ(paint(recording_, *networks_[0], AttentionInjection::Options{0, ema}), plain);
  }
}

TEST_F(PreparedVideoCall, KeepsTheReferencesOfOneStep) {
  VideoUNet& network = *networks_[0];
  VideoUNet::Call call(network, kSize, AttentionInjection::Options{});
  const AttentionInjection& injection = *call.injection();
  EXPECT_EQ(injection.references().size(), network.injection_layers());
  const size_t bytes = injection.bytes();
  EXPECT_GT(bytes, 0u);
  const auto conditioning = condition(recording_, network, 1);
  recording_.run(FillBytes{call.input().raw(), 0, call.input().bytes()});
  call.set_timestep(0.1f);
  EXPECT_ERROR(call.run(*conditioning, 0, false), "the first video has not made step 0 yet");
  {
    const NothingCrosses inside(recording_);
    for (int step = 0; step < 2; ++step)
      for (const bool first : {true, false, false}) call.run(*conditioning, step, first);
  }
  EXPECT_ERROR(call.run(*conditioning, 0, false), "the first video has not made step 0 yet");
  EXPECT_EQ(injection.bytes(), bytes);
}

TEST_F(PreparedVideoCall, WrongSizesAreNamed) {
  VideoUNet& network = *networks_[0];
  const auto call = [&](const VideoUNet::Call::Size& size) { VideoUNet::Call call(network, size); };
  EXPECT_ERROR(call({kRows, kFrames, kSide + 1, kSide}), "multiples of 2, not 9×8");
  EXPECT_ERROR(call({kRows, kFrames, 0, kSide}), "not 0×8");
  EXPECT_ERROR(call({kRows, 4, kSide, kSide}), "not for 6 rows of 4 frames each");
  VideoUNet::Call half(network, {kFrames, kFrames, kSide, kSide});
  EXPECT_ERROR(half.run(*condition(recording_, network, 1)), "given the conditions of 6 of 3");
}

class PreparedImageCall : public testing::Test {
 protected:
  PreparedImageCall() {
    write_tiny_image_model(folder_.path());
    copy_model_folder(test_data() / "controlnet", control_folder_.path());
    unet_ = ImageCheckpoint(folder_.path()).unet(backend_);
    control_ = ControlNetCheckpoint(control_folder_.path()).network(backend_);
  }
  TemporaryFolder folder_, control_folder_;
  CountingBackend backend_;
  std::unique_ptr<ImageUNet> unet_;
  std::unique_ptr<ControlNet> control_;
};

TEST_F(PreparedImageCall, GivesWhatForwardDoesWithAndWithoutControlNet) {
  const Tensor context = random(backend_, {2, 77, unet_->context_width()}, 1),
               vector = random(backend_, {2, unet_->vector_width()}, 2);
  const auto conditioning = unet_->condition(context, vector);
  ImageUNet::Call plain(*unet_, kSide, kSide, conditioning);
  ControlNet::Call controlling(*control_, kSide, kSide, control_->condition(context, vector), 1, 0.4f);
  ImageUNet::Call controlled(*unet_, kSide, kSide, conditioning,
                             {controlling.input(), controlling.sinusoids(), &controlling.residuals()});
  for (const uint64_t seed : {1, 2, 3}) {
    const Tensor x = random(backend_, plain.input().shape(), seed);
    const Tensor hint = control_->embed_hint(random(backend_, {1, 4 * kSide, 4 * kSide, 3}, seed + 3));
    const float step = 100.0f * static_cast<float>(seed);
    const UNetResiduals residuals =
        control_->forward(x, {&step, 1}, *control_->condition(context, vector), hint, 0.4f);
    const std::vector<float> wanted_plain = unet_->forward(x, {&step, 1}, *conditioning).to_host(),
                             wanted = unet_->forward(x, {&step, 1}, *conditioning, &residuals).to_host();
    EXPECT_FALSE(same_bits(wanted, wanted_plain));
    for (ImageUNet::Call* call : {&plain, &controlled}) {
      write(call->input(), x);
      call->set_timestep(step);
    }
    write(controlling.hint(), hint);
    {
      const NothingCrosses inside(backend_);
      plain.run();
      controlling.run();
      controlled.run();
    }
    EXPECT_TRUE(same_bits(plain.prediction().to_host(), wanted_plain));
    EXPECT_TRUE(same_bits(controlled.prediction().to_host(), wanted));
  }
  EXPECT_EQ(backend_.counts().recorded, 3);
}

TEST_F(PreparedImageCall, AutoencoderAndImageTower) {
  const ImageCheckpoint image(folder_.path());
  const auto encoder = image.encoder(backend_);
  const auto decoder = image.decoder(backend_);
  write_tiny_model(TinyModel::svd, folder_ / "model.safetensors");
  const VideoCheckpoint video(folder_ / "model.safetensors");
  const auto video_decoder = video.decoder(backend_);
  const auto tower = video.image_encoder(backend_);
  const auto expect_the_same = [&](PreparedFunction& function, const auto& forward) {
    for (const uint64_t seed : {1, 2}) {
      const Tensor x = random(backend_, function.input().shape(), seed);
      write(function.input(), x);
      {
        const NothingCrosses inside(backend_);
        function.run();
      }
      EXPECT_TRUE(same_bits(function.output().to_host(), forward(x).to_host()));
    }
  };
  expect_the_same(*encoder->prepare_moments({1, 16, 24, 3}),
                  [&](const Tensor& x) { return encoder->moments(x); });
  expect_the_same(*decoder->prepare({2, 4, 6, 4}, 0.13f),
                  [&](const Tensor& x) { return decoder->decode(x, 2, 0.13f); });
  expect_the_same(*video_decoder->prepare({3, 4, 4, 4}),
                  [&](const Tensor& x) { return video_decoder->decode(x, 3); });
  expect_the_same(*tower->prepare(2), [&](const Tensor& x) { return tower->forward(x); });
  EXPECT_ERROR(decoder->prepare({2, 4, 6, 3}), "the autoencoder takes");
  EXPECT_ERROR(encoder->prepare_moments({1, 15, 24, 3}), "multiples of");
}

}  // namespace
}  // namespace eg4d::test
