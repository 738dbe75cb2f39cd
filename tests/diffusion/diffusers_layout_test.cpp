#include "diffusion/diffusers_folder.h"

#include <gtest/gtest.h>

#include <set>

#include "diffusion/video_checkpoint.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/manifest.h"
#include "support/network_fixture.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

// What the folder layout leaves out.
bool only_in_single_file(const std::string& name) {
  return name.starts_with("first_stage_model.encoder.") ||
         (name.starts_with("conditioner.embedders.0.open_clip.model.") &&
          !name.starts_with("conditioner.embedders.0.open_clip.model.visual.")) ||
         name.starts_with("conditioner.embedders.3.encoder.decoder.") ||
         name.starts_with("conditioner.embedders.3.encoder.post_quant_conv.");
}

DiffusersNames names_of(const Manifest& manifest) {
  const TemporaryFolder folder;
  write_sparse_safetensors(folder / "model.safetensors", manifest);
  return DiffusersNames(DiffusersNames::structure_of(WeightMap(folder / "model.safetensors")));
}

// The tensors of a single file as the three files of a folder have them.
std::map<std::string, Manifest> as_folder(const Manifest& manifest, const DiffusersNames& names) {
  std::map<std::string, Manifest> folder;
  for (const auto& [name, shape] : manifest)
    for (const std::string& place : names.to_folder(name)) {
      Shape stored = shape;
      if (names.to_folder(name).size() == 3) stored[0] /= 3;
      if (place.ends_with("visual_projection.weight")) std::swap(stored[0], stored[1]);
      const size_t slash = place.find('/');
      folder[place.substr(0, slash)][place.substr(slash + 1)] = stored;
    }
  return folder;
}

void write_folder(const std::filesystem::path& path, const std::map<std::string, Manifest>& files) {
  for (const auto& [component, manifest] : files) {
    std::filesystem::create_directories(path / component);
    const std::string stem = component == "image_encoder" ? "model" : "diffusion_pytorch_model";
    write_sparse_safetensors(path / component / (stem + ".fp16.safetensors"), manifest);
  }
}

TEST(DiffusersLayout, NamesGoThereAndBack) {
  for (const std::string variant : {"svd", "svd_xt"}) {
    const Manifest manifest = read_manifest(variant);
    const DiffusersNames names = names_of(manifest);
    std::set<std::string> seen;
    for (const auto& [name, shape] : manifest) {
      const std::vector<std::string> places = names.to_folder(name);
      EXPECT_EQ(places.empty(), only_in_single_file(name)) << name;
      for (size_t part = 0; part < places.size(); ++part) {
        EXPECT_TRUE(seen.insert(places[part]).second) << places[part];
        const auto back = names.to_single_file(places[part]);
        ASSERT_TRUE(back) << places[part];
        EXPECT_EQ(back->name, name);
        EXPECT_EQ(back->part, part);
        EXPECT_EQ(back->parts, places.size());
      }
    }
  }
}

// As they stand in the published folders.
TEST(DiffusersLayout, KnownNames) {
  const DiffusersNames names = names_of(read_manifest("svd"));
  const auto expect = [&](const std::string& single, const std::string& folder) {
    ASSERT_EQ(names.to_folder(single).size(), 1u) << single;
    EXPECT_EQ(names.to_folder(single)[0], folder);
  };
  expect("model.diffusion_model.input_blocks.4.0.skip_connection.weight",
         "unet/down_blocks.1.resnets.0.spatial_res_block.conv_shortcut.weight");
  expect("model.diffusion_model.input_blocks.9.0.op.bias", "unet/down_blocks.2.downsamplers.0.conv.bias");
  expect("model.diffusion_model.input_blocks.11.0.time_stack.emb_layers.1.weight",
         "unet/down_blocks.3.resnets.1.temporal_res_block.time_emb_proj.weight");
  expect("model.diffusion_model.output_blocks.2.1.conv.weight", "unet/up_blocks.0.upsamplers.0.conv.weight");
  expect("model.diffusion_model.output_blocks.5.2.conv.weight", "unet/up_blocks.1.upsamplers.0.conv.weight");
  expect("model.diffusion_model.output_blocks.8.1.time_stack.0.ff_in.net.0.proj.weight",
         "unet/up_blocks.2.attentions.2.temporal_transformer_blocks.0.ff_in.net.0.proj.weight");
  expect("model.diffusion_model.middle_block.2.time_mixer.mix_factor",
         "unet/mid_block.resnets.1.time_mixer.mix_factor");
  expect("first_stage_model.decoder.up.3.block.0.mix_factor",
         "vae/decoder.up_blocks.0.resnets.0.time_mixer.mix_factor");
  expect("first_stage_model.decoder.conv_out.time_mix_conv.bias", "vae/decoder.time_conv_out.bias");
  expect("conditioner.embedders.3.encoder.encoder.mid.attn_1.proj_out.weight",
         "vae/encoder.mid_block.attentions.0.to_out.0.weight");
  expect("conditioner.embedders.0.open_clip.model.visual.ln_pre.weight",
         "image_encoder/vision_model.pre_layrnorm.weight");
}

TEST(DiffusersLayout, FullSizeFolderFits) {
  const Manifest manifest = read_manifest("svd_xt");
  const DiffusersNames names = names_of(manifest);
  auto files = as_folder(manifest, names);
  files["image_encoder"]["vision_model.embeddings.position_ids"] = {1, 257};
  {
    const TemporaryFolder folder;
    write_folder(folder.path(), files);
    EXPECT_EQ(VideoCheckpoint(folder.path()).kind(), VideoCheckpoint::Kind::svd);
    std::filesystem::remove_all(folder / "vae");
    EXPECT_ERROR(VideoCheckpoint checkpoint(folder.path()), "vae/diffusion_pytorch_model.safetensors");
  }
  for (const std::string missing : {"vision_model.encoder.layers.3.self_attn.k_proj.bias",
                                    "vision_model.encoder.layers.31.mlp.fc1.weight"}) {
    auto changed = files;
    changed["image_encoder"].erase(missing);
    const TemporaryFolder folder;
    write_folder(folder.path(), changed);
    EXPECT_ERROR(VideoCheckpoint checkpoint(folder.path()), "is missing");
  }
  files["unet"]["down_blocks.0.resnets.0.spatial_res_block.norm3.weight"] = {320};
  const TemporaryFolder folder;
  write_folder(folder.path(), files);
  EXPECT_ERROR(VideoCheckpoint checkpoint(folder.path()), "norm3.weight' is surplus");
}

// As AnimateLCM publishes its: the file of a folder's unet/ alone, or that folder; the rest is another
// model's.
TEST(DiffusersLayout, AUNetAloneTakesThePlaceOfAModelsOwn) {
  const Manifest manifest = read_manifest("svd_xt");
  auto files = as_folder(manifest, names_of(manifest));
  const TemporaryFolder folder;
  write_sparse_safetensors(folder / "svd_xt.safetensors", manifest);
  write_sparse_safetensors(folder / "unet.safetensors", files["unet"]);
  write_folder(folder / "whole", files);
  const auto with = [&](const char* unet) {
    return VideoCheckpoint(folder / "svd_xt.safetensors", folder / unet);
  };
  for (const char* unet : {"unet.safetensors", "whole", "whole/unet", "svd_xt.safetensors"}) {
    const VideoCheckpoint checkpoint = with(unet);
    EXPECT_EQ(checkpoint.kind(), VideoCheckpoint::Kind::svd);
    EXPECT_EQ(checkpoint.weights().items().size(), manifest.size());
  }
  EXPECT_EQ(VideoCheckpoint(folder / "whole", folder / "unet.safetensors").kind(),
            VideoCheckpoint::Kind::svd);
  EXPECT_ERROR(VideoCheckpoint checkpoint(folder / "unet.safetensors"), "give it as --unet");

  Manifest changed = files["unet"];
  changed.erase("up_blocks.3.attentions.2.temporal_transformer_blocks.0.ff.net.2.bias");
  write_sparse_safetensors(folder / "short.safetensors", changed);
  EXPECT_ERROR(with("short.safetensors"), "short.safetensors' does not fit the network");
  EXPECT_ERROR(with("short.safetensors"), "time_stack.0.ff.net.2.bias' is missing");
  changed = files["unet"];
  changed["mid_block.lora.weight"] = {4, 4};
  write_sparse_safetensors(folder / "surplus.safetensors", changed);
  EXPECT_ERROR(with("surplus.safetensors"), "mid_block.lora.weight' is surplus");
  write_sparse_safetensors(folder / "other.safetensors", files["image_encoder"]);
  EXPECT_ERROR(with("other.safetensors"), "holds no UNet");
}

// Its numbers are those that are used.
TEST(DiffusersLayout, TheOtherUNetsNumbersAreUsed) {
  if (!golden_has("svd_unet")) GTEST_SKIP() << "no fixture svd_unet";
  const WeightMap weights = golden_weights("svd_unet");
  const DiffusersNames names(DiffusersNames::structure_of(weights));
  std::vector<SafetensorsTensor> tensors;
  std::map<std::string, std::vector<float>> values;
  for (const auto& [name, item] : weights.items()) {
    const std::vector<std::string> places = names.to_folder(name);
    ASSERT_EQ(places.size(), 1u) << name;
    std::vector<float>& own = values[places[0]] = weights.floats(name);
    for (float& value : own) value *= 2;
    tensors.push_back({places[0].substr(std::string("unet/").size()), DType::f32, item.shape, own.data()});
  }
  const TemporaryFolder folder;
  write_safetensors(folder / "unet.safetensors", tensors);
  const WeightMap read = read_video_unet(folder / "unet.safetensors");
  EXPECT_EQ(read.items().size(), weights.items().size());
  for (const auto& [name, item] : weights.items()) {
    std::vector<float> twice = weights.floats(name);
    for (float& value : twice) value *= 2;
    EXPECT_EQ(read.floats(name), twice) << name;
  }
}

// The fixtures' weights, written as a folder and read again, are the same numbers under the same names.
TEST(DiffusersLayout, NumbersStayTheSame) {
  WeightMap weights;
  for (const std::string fixture : {"svd_unet", "svd_vae", "openclip_vit"}) {
    if (!golden_has(fixture)) GTEST_SKIP() << "no fixture " << fixture;
    weights.add(golden_weights(fixture));
  }
  const DiffusersNames names(DiffusersNames::structure_of(weights));
  std::map<std::string, std::vector<float>> values;
  std::map<std::string, std::vector<SafetensorsTensor>> files;
  for (const auto& [name, item] : weights.items()) {
    const std::vector<std::string> places = names.to_folder(name);
    EXPECT_EQ(places.empty(), only_in_single_file(name)) << name;
    const std::vector<float> all = weights.floats(name);
    for (size_t part = 0; part < places.size(); ++part) {
      Shape shape = item.shape;
      if (places.size() == 3) shape[0] /= 3;
      const size_t count = all.size() / places.size();
      std::vector<float>& own = values[places[part]];
      own.assign(all.begin() + static_cast<int64_t>(part * count),
                 all.begin() + static_cast<int64_t>((part + 1) * count));
      if (places[part].ends_with("visual_projection.weight")) {
        std::swap(shape[0], shape[1]);
        for (size_t i = 0; i < own.size(); ++i) {
          const size_t row = i / static_cast<size_t>(shape[1]), column = i % static_cast<size_t>(shape[1]);
          own[i] = all[column * static_cast<size_t>(shape[0]) + row];
        }
      }
      const size_t slash = places[part].find('/');
      files[places[part].substr(0, slash)].push_back(
          {places[part].substr(slash + 1), DType::f32, shape, own.data()});
    }
  }
  const TemporaryFolder folder;
  for (const auto& [component, tensors] : files) {
    std::filesystem::create_directories(folder / component);
    write_safetensors(
        folder / component /
            (component == "image_encoder" ? "model.safetensors" : "diffusion_pytorch_model.safetensors"),
        tensors);
  }
  const WeightMap read = read_diffusers_folder(folder.path());
  for (const auto& [name, item] : weights.items()) {
    if (only_in_single_file(name)) continue;
    ASSERT_TRUE(read.contains(name)) << name;
    EXPECT_EQ(read.items().at(name).shape, item.shape) << name;
    EXPECT_EQ(read.floats(name), weights.floats(name)) << name;
  }
}

}  // namespace
}  // namespace eg4d::test
