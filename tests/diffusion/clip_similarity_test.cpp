#include "diffusion/clip_similarity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "io/safetensors.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/network_fixture.h"
#include "support/temporary_folder.h"
#include "support/tiny_clip.h"

namespace eg4d::test {
namespace {

EG4D_DEVICE_SUITE(ClipImageTest);

TEST_P(ClipImageTest, HuggingFacesNamesGiveTheSameTower) {
  const TemporaryFolder folder;
  write_tiny_clip(folder / "clip.safetensors");
  auto backend = make_test_backend({.guard_memory = true});
  const nlohmann::json config = golden_json("openclip_vit/config.json");
  const int64_t head = config.at("arch").at("vision_cfg").value("head_width", int64_t{64});
  const WeightMap weights = ClipSimilarity::checked(WeightMap(folder / "clip.safetensors"));
  ClipImageEncoder exact(*backend, weights, "", {.head_channels = head, .activation = Activation::gelu}),
      quick(*backend, weights, "", {.head_channels = head}),
      own(*backend, golden_weights("openclip_vit"), "conditioner.embedders.0.open_clip.model.visual.",
          {.head_channels = head});
  const int64_t side = own.picture_size();
  EXPECT_EQ(exact.picture_size(), side);
  const Tensor x = Tensor::from_host<float>(*backend, {1, side, side, 3},
                                            hash_tensor(1, static_cast<size_t>(side * side * 3), 3));
  const std::vector<float> wanted = own.forward(x).to_host();
  EXPECT_LE(relative_error(exact.forward(x).to_host(), wanted), 1e-6);
  const double changed = relative_error(quick.forward(x).to_host(), wanted);
  EXPECT_GT(changed, 1e-6);  // quick GELU is close to the exact one, and another
  EXPECT_LT(changed, 0.2);
}

EG4D_DEVICE_SUITE(ClipSimilarityTest);

TEST_P(ClipSimilarityTest, OfPictures) {
  const TemporaryFolder folder;
  write_tiny_clip(folder / "clip.safetensors");
  auto backend = make_test_backend();
  ClipSimilarity clip(*backend, WeightMap(folder / "clip.safetensors"));
  Picture a(50, 37, 3), b(50, 37, 3);
  for (size_t i = 0; i < a.data.size(); ++i) {
    a.data[i] = static_cast<uint8_t>(i * 37 % 251);
    b.data[i] = static_cast<uint8_t>(i / 50);
  }
  EXPECT_NEAR(cosine(clip.embed(a), clip.embed(a)), 1, 1e-9);
  EXPECT_LT(cosine(clip.embed(a), clip.embed(b)), 0.9999);
  for (const auto& [width, height] : {std::pair{1, 1}, {1, 500}, {700, 3}})
    EXPECT_TRUE(std::isfinite(clip.embed(Picture(width, height, 4))[0]));
  EXPECT_EQ(cosine({0, 0}, {1, 0}), 0);
  EXPECT_NEAR(cosine({1, 0}, {-2, 0}), -1, 1e-12);
}

TEST(ClipSimilarity, OtherFilesAreErrors) {
  const TemporaryFolder folder;
  const float one = 1;
  write_safetensors(folder / "a.safetensors", {{"x", DType::f32, {1}, &one}});
  EXPECT_ERROR(ClipSimilarity::checked(WeightMap(folder / "a.safetensors")), "holds no image tower of CLIP");
  write_tiny_clip(folder / "clip.safetensors");
  WeightMap weights(folder / "clip.safetensors");
  weights.remove("visual_projection.weight");
  EXPECT_ERROR(ClipSimilarity::checked(weights), "visual_projection.weight");
}

}  // namespace
}  // namespace eg4d::test
