// The image tower against openclip_vit/: preprocessing, embedding and intermediates.

#include <gtest/gtest.h>

#include <cmath>

#include "diffusion/clip_image.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/network_fixture.h"

namespace eg4d::test {
namespace {

constexpr double kTolerance = 1e-4;

class OpenClipViT : public OnEachDevice {};

TEST_P(OpenClipViT, EmbeddingAndIntermediates) {
  if (!golden_has_fixture("openclip_vit/io.safetensors")) GTEST_SKIP() << "no openclip_vit fixture";
  const nlohmann::json config = golden_json("openclip_vit/config.json");
  const SafetensorsFile io = golden_tensors("openclip_vit/io.safetensors");
  auto backend = make_test_backend();
  const WeightMap weights = golden_weights("openclip_vit");
  ClipImageEncoder encoder(
      *backend, weights, "conditioner.embedders.0.open_clip.model.visual.",
      {.head_channels = config.at("arch").at("vision_cfg").value("head_width", int64_t{64})});
  const int64_t size = encoder.picture_size();

  const Tensor x = channels_last(*backend, io, "x");
  const std::vector<float> pictures = x.to_host();
  const auto picture_floats = static_cast<size_t>(x.count() / x.dim(0));
  std::vector<float> prepared, embeddings;
  for (size_t i = 0; i < static_cast<size_t>(x.dim(0)); ++i) {
    const std::span<const float> picture(pictures.data() + i * picture_floats, picture_floats);
    const std::vector<float> one = clip_preprocess(picture, x.dim(1), x.dim(2), size);
    prepared.insert(prepared.end(), one.begin(), one.end());
    const std::vector<float> embedding = encoder.embed(picture, x.dim(1), x.dim(2));
    embeddings.insert(embeddings.end(), embedding.begin(), embedding.end());
  }
  const Tensor input = Tensor::from_host<float>(*backend, {x.dim(0), size, size, 3}, prepared);
  auto expect_like = [&](const Tensor& value, const std::string& name) {
    if (!io.contains(name)) return;
    EXPECT_LE(relative_error(values_like(value, io.at(name).shape), io.floats(name)), kTolerance) << name;
  };
  expect_like(input, "preprocessed");
  const Tensor embedding =
      encoder.forward(input, [&](const std::string& name, const Tensor& value) { expect_like(value, name); });
  expect_like(embedding, "embedding");
  expect_like(embedding, "crossattn");
  EXPECT_LE(relative_error(embeddings, io.floats("embedding")), kTolerance);
}

INSTANTIATE_TEST_SUITE_P(, OpenClipViT, testing::ValuesIn(test_devices_by_memory()), DeviceLabel());

// The fixture's two generators of full-size pictures (golden/NOTES.md), channels last.
std::vector<float> hash_picture(int64_t height, int64_t width) {
  std::vector<float> picture(static_cast<size_t>(height * width * 3));
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t i = 0; i < height * width; ++i) {
      uint32_t x = (static_cast<uint32_t>(c * height * width + i) + 1) * 0x9E3779B1u + 7 * 0x85EBCA77u;
      x = (x ^ (x >> 15)) * 0x2C1B3C6Du;
      x = (x ^ (x >> 12)) * 0x297A2D39u;
      x ^= x >> 15;
      picture[static_cast<size_t>(i * 3 + c)] = static_cast<float>(x >> 24) / 255 * 2 - 1;
    }
  return picture;
}

std::vector<float> smooth_picture(int64_t height, int64_t width) {
  std::vector<float> picture(static_cast<size_t>(height * width * 3));
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      for (int64_t c = 0; c < 3; ++c) {
        const double value =
            0.5 * std::sin(0.021 * static_cast<double>(x * (c + 1)) + 0.3 * static_cast<double>(c)) +
            0.5 * std::cos(0.017 * static_cast<double>(y * (c + 1)));
        picture[static_cast<size_t>((y * width + x) * 3 + c)] = static_cast<float>(value);
      }
  return picture;
}

void expect_prepared(const SafetensorsFile& file, const std::string& name, const std::vector<float>& picture,
                     int64_t height, int64_t width) {
  if (!file.contains(name)) return;
  const Shape& shape = file.at(name).shape;
  auto backend = make_test_backend();
  const Tensor prepared = Tensor::from_host<float>(*backend, {1, shape[2], shape[3], 3},
                                                   clip_preprocess(picture, height, width, shape[2]));
  EXPECT_LE(relative_error(values_like(prepared, shape), file.floats(name)), kTolerance) << name;
}

EG4D_DEVICE_SUITE(OpenClipPreprocessTest);

TEST_P(OpenClipPreprocessTest, FullSizePictures) {
  if (!golden_has_fixture("openclip_vit/preprocess_real.safetensors", GoldenPart::optional))
    GTEST_SKIP() << "no preprocess_real";
  const SafetensorsFile file = golden_tensors("openclip_vit/preprocess_real.safetensors");
  expect_prepared(file, "random_576x576", hash_picture(576, 576), 576, 576);
  expect_prepared(file, "smooth_576x1024", smooth_picture(576, 1024), 576, 1024);
}

}  // namespace
}  // namespace eg4d::test
