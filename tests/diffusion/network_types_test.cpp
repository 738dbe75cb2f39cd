// Whole small networks in f16 and bf16, rounded where a GPU rounds, against f32. How far they are from it was
// measured and is held from both sides: sums in 16 bits are several times as far, and networks whose results
// or weights are not rounded are nearer.

#include <gtest/gtest.h>

#include "core/error.h"
#include "diffusion/image_checkpoint.h"
#include "diffusion/video_checkpoint.h"
#include "nn/network_type.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/random_values.h"
#include "support/temporary_folder.h"
#include "support/tiny_image_model.h"
#include "support/tiny_video_model.h"

namespace eg4d::test {
namespace {

constexpr DType kHalves[] = {DType::f16, DType::bf16};

Tensor random(Backend& backend, const Shape& shape, uint64_t seed) {
  Philox numbers(seed);
  return Tensor::from_host<float>(backend, shape, uniform_values(numbers, element_count(shape), -1.0f, 1.0f));
}

class NetworkTypes : public testing::Test {
 protected:
  // evaluate(backend, type) in both types, whose errors against f32 must lie around these.
  template <class Evaluate>
  static void expect_errors(double f16, double bf16, const Evaluate& evaluate) {
    const auto exact = make_cpu_backend();
    const std::vector<float> wanted = evaluate(*exact, NetworkType{});
    for (const DType half : kHalves) {
      const auto backend = make_cpu_backend({.guard_memory = true, .emulate_half = true});
      const double error = relative_error(evaluate(*backend, network_type(*backend, half)), wanted),
                   usual = half == DType::f16 ? f16 : bf16;
      EXPECT_LE(error, 1.3 * usual) << name_of(half);
      EXPECT_GE(error, usual / 1.3) << name_of(half);
    }
  }
  TemporaryFolder folder_;
};

TEST_F(NetworkTypes, VideoUNet) {
  write_tiny_model(TinyModel::sv3d_p, folder_ / "model.safetensors");
  const VideoCheckpoint checkpoint(folder_ / "model.safetensors");
  constexpr int64_t frames = 3, rows = 6, side = 8;
  const auto evaluate = [&](Backend& backend, const NetworkType& type) {
    const auto network = checkpoint.unet(backend, type);
    const auto conditioning = network->condition(random(backend, {rows, 1, network->context_width()}, 1),
                                                 random(backend, {rows, network->vector_width()}, 2), frames);
    VideoUNet::Call call(*network, {rows, frames, side, side}, AttentionInjection::Options{});
    EXPECT_EQ(call.input().dtype(), type.activations);
    EXPECT_EQ(call.prediction().dtype(), DType::f32);
    call.set_timestep(0.3f);
    for (const uint64_t video : {0, 1}) {  // the second with the first one's references
      const Tensor x = random(backend, call.input().shape(), 3 + video);
      backend.run(Convert{.count = x.count(), .x = x.array(), .y = call.input().array()});
      call.run(*conditioning, 0, video == 0);
    }
    for (const Tensor& reference : call.injection()->references())
      EXPECT_EQ(reference.dtype(), type.activations);
    return call.prediction().to_host();
  };
  expect_errors(1.9e-3, 1.75e-2, evaluate);
}

TEST_F(NetworkTypes, ImageUNet) {
  write_tiny_image_model(folder_.path());
  const ImageCheckpoint checkpoint(folder_.path());
  const auto evaluate = [&](Backend& backend, const NetworkType& type) {
    const auto network = checkpoint.unet(backend, type);
    const auto conditioning = network->condition(random(backend, {2, 77, network->context_width()}, 1),
                                                 random(backend, {2, network->vector_width()}, 2));
    const float step = 500;
    return network->forward(random(backend, {2, 8, 8, network->channels()}, 3), {&step, 1}, *conditioning)
        .to_host();
  };
  expect_errors(2.9e-3, 3.4e-2, evaluate);
}

TEST_F(NetworkTypes, Autoencoder) {
  write_tiny_model(TinyModel::svd, folder_ / "model.safetensors");
  const VideoCheckpoint checkpoint(folder_ / "model.safetensors");
  expect_errors(1.6e-3, 1.26e-2, [&](Backend& backend, const NetworkType& type) {
    return checkpoint.decoder(backend, type)->decode(random(backend, {3, 4, 4, 4}, 1), 3).to_host();
  });
  expect_errors(1.06e-3, 1.08e-2, [&](Backend& backend, const NetworkType& type) {
    return checkpoint.condition_encoder(backend, type)->moments(random(backend, {1, 16, 16, 3}, 1)).to_host();
  });
  const auto backend = make_cpu_backend({.emulate_half = true});
  const auto encoder = checkpoint.condition_encoder(*backend, network_type(*backend, DType::bf16));
  const Tensor picture = random(*backend, {1, 16, 16, 3}, 1);
  EXPECT_ERROR(encoder->differentiate(
                   picture, [](const Tensor& mode) { return mode; }, picture),
               "in f32 only, not in bf16");
}

TEST_F(NetworkTypes, Clip) {
  write_tiny_model(TinyModel::svd, folder_ / "model.safetensors");
  const VideoCheckpoint video(folder_ / "model.safetensors");
  expect_errors(6.0e-4, 6.2e-3, [&](Backend& backend, const NetworkType& type) {
    const auto tower = video.image_encoder(backend, type);
    return tower->forward(random(backend, {2, tower->picture_size(), tower->picture_size(), 3}, 1)).to_host();
  });
  write_tiny_image_model(folder_.path());
  const ImageCheckpoint image(folder_.path());
  for (const size_t which : {size_t{0}, size_t{1}})
    expect_errors(which == 0 ? 5.4e-4 : 8.3e-4, which == 0 ? 5.1e-3 : 7.5e-3,
                  [&](Backend& backend, const NetworkType& type) {
                    const auto encoder = image.text_encoder(backend, which, type);
                    const ClipTextEncoder::Output output =
                        encoder->encode({image.tokenizer(which).row({320, 1000}, 0)});
                    return (output.pooled.defined() ? output.pooled : output.hidden).to_host();
                  });
}

// What --precision means on a device.
TEST(NetworkType, TheProcessorKeepsActivationsInF32) {
  const auto processor = make_cpu_backend();
  EXPECT_EQ(network_type(*processor, DType::f32), NetworkType{});
  EXPECT_EQ(network_type(*processor, DType::bf16),
            (NetworkType{DType::f32, DType::bf16, NetworkType::Products::half}));
  EXPECT_THROW(network_type(*processor, DType::f16), UsageError);
  EXPECT_ERROR(network_type(*processor, DType::f16), "--precision f16 is for GPUs");
  EXPECT_EQ(exact_network_type(*processor, DType::bf16), NetworkType{});
  const auto emulating = make_cpu_backend({.emulate_half = true});
  for (const DType half : kHalves) {
    EXPECT_EQ(network_type(*emulating, half), (NetworkType{half, half, NetworkType::Products::half}));
    EXPECT_EQ(exact_network_type(*emulating, half).activations, DType::f32);
  }
  const std::vector<float> one = {1};
  EXPECT_ERROR(processor->pack_linear({.in = 1, .out = 1, .weight = one, .type = {.weights = DType::f16}}),
               "multiplies in f32 or bf16");
}

}  // namespace
}  // namespace eg4d::test
