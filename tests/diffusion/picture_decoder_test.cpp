// Decoding in f16, and in f32 what leaves its range.

#include "diffusion/picture_decoder.h"

#include <gtest/gtest.h>

#include <cmath>

#include "diffusion/image_checkpoint.h"
#include "nn/network_type.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/random_values.h"
#include "support/temporary_folder.h"
#include "support/tiny_image_model.h"

namespace eg4d::test {
namespace {

class PictureDecoderTest : public OnEachDevice {
 protected:
  void SetUp() override { write_tiny_image_model(folder_.path()); }
  Tensor latents(int64_t pictures, float size) {
    Philox random(7);
    return Tensor::from_host<float>(*backend_, {pictures, 6, 8, 4},
                                    uniform_values(random, pictures * 6 * 8 * 4, -size, size));
  }

  TemporaryFolder folder_;
  std::unique_ptr<Backend> backend_ = make_test_backend({.emulate_half = true});
};
EG4D_ON_EACH_DEVICE(PictureDecoderTest);

TEST_P(PictureDecoderTest, WhatLeavesTheRangeIsDecodedExactly) {
  const ImageCheckpoint checkpoint(folder_.path());
  const NetworkType half = network_type(*backend_, DType::f16),
                    exact = exact_network_type(*backend_, DType::f16);
  const auto half_network = checkpoint.decoder(*backend_, half),
             network = checkpoint.decoder(*backend_, exact);
  std::vector<DType> asked;
  PictureDecoder decoder(
      *backend_, DType::f16,
      [&](const NetworkType& type) -> AutoencoderDecoder& {
        asked.push_back(type.activations);
        return type == half ? *half_network : *network;
      },
      1);
  const Tensor small = latents(2, 1), large = latents(2, 1e8f);
  EXPECT_EQ(decoder.decode(small).to_host(), half_network->decode(small, 2, 1).to_host());
  EXPECT_EQ(asked, std::vector{DType::f16});
  EXPECT_LE(relative_error(decoder.decode(small).to_host(), network->decode(small, 2, 1).to_host()), 1e-2);
  const std::vector<float> pictures = decoder.decode(large).to_host();
  EXPECT_EQ(pictures, network->decode(large, 2, 1).to_host());
  for (const float value : pictures) ASSERT_TRUE(std::isfinite(value));
  EXPECT_EQ(asked, (std::vector{DType::f16, DType::f32}));
  // It depends on the latents alone.
  EXPECT_EQ(decoder.decode(small).to_host(), half_network->decode(small, 2, 1).to_host());
}

// Where it is exact anyway, what is no number passes.
TEST_P(PictureDecoderTest, InF32ThereIsOneDecoder) {
  const ImageCheckpoint checkpoint(folder_.path());
  const auto network = checkpoint.decoder(*backend_);
  int asked = 0;
  PictureDecoder decoder(
      *backend_, DType::f32,
      [&](const NetworkType& type) -> AutoencoderDecoder& {
        EXPECT_EQ(type, NetworkType{});
        ++asked;
        return *network;
      },
      1);
  EXPECT_EQ(decoder.decode(latents(1, 1)).to_host(), network->decode(latents(1, 1), 1, 1).to_host());
  EXPECT_TRUE(std::isnan(decoder.decode(latents(1, std::nanf(""))).to_host().front()));
  EXPECT_EQ(asked, 1);
}

}  // namespace
}  // namespace eg4d::test
