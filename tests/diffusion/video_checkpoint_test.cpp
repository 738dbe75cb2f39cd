#include "diffusion/video_checkpoint.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/expect_error.h"
#include "support/manifest.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

// SVD's file with the plain decoder, which is SV3D's.
Manifest image_decoder_variant() {
  Manifest manifest = read_manifest("svd");
  std::erase_if(manifest,
                [](const auto& item) { return item.first.starts_with("first_stage_model.decoder."); });
  for (const auto& [name, shape] : read_manifest("sv3d_p"))
    if (name.starts_with("first_stage_model.decoder.")) manifest[name] = shape;
  return manifest;
}

void expect_kind(const Manifest& manifest, VideoCheckpoint::Kind kind) {
  const TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  write_sparse_safetensors(path, manifest);
  EXPECT_EQ(VideoCheckpoint(path).kind(), kind);
}

std::string error_for(const Manifest& manifest) {
  const TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  write_sparse_safetensors(path, manifest);
  return error_of([&] { VideoCheckpoint checkpoint(path); });
}

TEST(VideoCheckpoint, PublishedFilesFit) {
  expect_kind(read_manifest("svd"), VideoCheckpoint::Kind::svd);
  expect_kind(read_manifest("svd_xt"), VideoCheckpoint::Kind::svd);
  expect_kind(read_manifest("sv3d_u"), VideoCheckpoint::Kind::sv3d_u);
  expect_kind(read_manifest("sv3d_p"), VideoCheckpoint::Kind::sv3d_p);
}

TEST(VideoCheckpoint, ImageDecoderVariantsFit) {
  Manifest manifest = image_decoder_variant();
  expect_kind(manifest, VideoCheckpoint::Kind::svd);
  manifest["first_stage_model.quant_conv.weight"] = {8, 8, 1, 1};
  manifest["first_stage_model.quant_conv.bias"] = {8};
  manifest["first_stage_model.post_quant_conv.weight"] = {4, 4, 1, 1};
  manifest["first_stage_model.post_quant_conv.bias"] = {4};
  expect_kind(manifest, VideoCheckpoint::Kind::svd);
}

// Every tensor in turn with EG4D_TEST_ALL_TENSORS=1; otherwise a sample, as it takes a minute.
class EveryTensor : public testing::TestWithParam<std::string> {
 protected:
  template <class Change>
  void each(Change&& change) {
    const Manifest manifest = read_manifest(GetParam());
    const char* all = std::getenv("EG4D_TEST_ALL_TENSORS");
    const size_t stride = all && *all == '1' ? 1 : 97;
    size_t index = 0;
    for (const auto& [name, shape] : manifest) {
      if (index++ % stride != 0) continue;
      Manifest changed = manifest;
      change(changed, name, shape);
      const std::string error = error_for(changed);
      EXPECT_TRUE(contains(error, "'" + name + "'")) << name << ": " << error;
      EXPECT_TRUE(contains(error, "model.safetensors")) << error;
    }
  }
};

TEST_P(EveryTensor, MissingIsNamed) {
  each([](Manifest& manifest, const std::string& name, const Shape&) { manifest.erase(name); });
}

TEST_P(EveryTensor, MisshapenIsNamed) {
  each([](Manifest& manifest, const std::string& name, const Shape& shape) {
    if (shape.size() >= 2 && shape[0] != shape[1]) {
      std::swap(manifest[name][0], manifest[name][1]);
    } else if (shape.empty()) {
      manifest[name] = {2};
    } else {
      manifest[name][0] += 1;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Manifests, EveryTensor, testing::Values("svd", "sv3d_p"));

TEST(VideoCheckpoint, SurplusAndForeignTensorsAreNamed) {
  for (const std::string name :
       {"model.diffusion_model.input_blocks.3.0.op.extra",
        "first_stage_model.decoder.up.0.block.3.conv1.weight",
        "conditioner.embedders.0.open_clip.model.visual.transformer.resblocks.0.ls_1", "somebody.else",
        "denoiser.sigmas", "conditioner.embedders.1.encoder.quant_conv.weight"}) {
    Manifest manifest = read_manifest("svd");
    manifest[name] = {4};
    const std::string error = error_for(manifest);
    EXPECT_TRUE(contains(error, name)) << error;
  }
}

TEST(VideoCheckpoint, OtherNetworksAreRefused) {
  EXPECT_TRUE(contains(error_for({{"unet.conv_in.weight", {320, 4, 3, 3}}}),
                       "no checkpoint of Stable Video Diffusion"));
  Manifest manifest = read_manifest("svd");
  manifest["model.diffusion_model.label_emb.0.0.weight"] = {1280, 2816};
  EXPECT_TRUE(contains(error_for(manifest), "label_emb.0.0.weight"));
}

// Sizes come from the file; group norm takes 32 groups of channels whatever they are.
TEST(VideoCheckpoint, WidthsThatGroupNormCannotDivideAreRefused) {
  for (const std::string network : {"first_stage_model.decoder.", "model.diffusion_model."})
    for (const int64_t width : {1, 31, 48}) {
      Manifest manifest = read_manifest("sv3d_p");
      const int64_t narrowest = network == "model.diffusion_model." ? 320 : 128;
      for (auto& [name, shape] : manifest)
        if (name.starts_with(network) && name.find("label_emb.0.0.weight") == std::string::npos)
          for (int64_t& extent : shape)
            if (extent % narrowest == 0) extent = extent / narrowest * width;
      const std::string error = error_for(manifest);
      EXPECT_TRUE(contains(error, "which do not divide into 32 groups") ||
                  contains(error, "num_head_channels"))
          << error;
      EXPECT_TRUE(contains(error, network)) << error;
    }
}

TEST(VideoCheckpoint, WholeNumbersAreNoWeights) {
  const TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  write_sparse_safetensors(path, read_manifest("sv3d_u"), "I32");
  EXPECT_ERROR(VideoCheckpoint checkpoint(path), "holds i32");
}

}  // namespace
}  // namespace eg4d::test
