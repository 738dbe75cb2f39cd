// Files of SDXL's real size (sparse: zeros that take no room) against the architecture.

#include "diffusion/image_checkpoint.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "support/expect_error.h"
#include "support/sdxl_manifest.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

namespace fs = std::filesystem;

std::string stem_of(const std::string& component) {
  return component.starts_with("text_encoder") ? "model" : "diffusion_pytorch_model";
}

void write_folder(const fs::path& path, const FolderManifest& files, const std::string& variant = ".fp16") {
  for (const auto& [component, manifest] : files) {
    fs::create_directories(path / component);
    write_sparse_safetensors(path / component / (stem_of(component) + variant + ".safetensors"), manifest);
  }
}

std::string error_for(const Manifest& manifest) {
  const TemporaryFolder folder;
  write_sparse_safetensors(folder / "model.safetensors", manifest);
  return error_of([&] { ImageCheckpoint checkpoint(folder / "model.safetensors"); });
}

std::string error_for(const FolderManifest& files) {
  const TemporaryFolder folder;
  write_folder(folder.path(), files);
  return error_of([&] { ImageCheckpoint checkpoint(folder.path()); });
}

TEST(ImageCheckpoint, PublishedFolderFits) {
  for (const std::string variant : {".fp16", ""}) {
    const TemporaryFolder folder;
    write_folder(folder.path(), sdxl_folder(), variant);
    const ImageCheckpoint checkpoint(folder.path());
    EXPECT_EQ(checkpoint.context_width(), 2048);
    EXPECT_EQ(checkpoint.pooled_width(), 1280);
    EXPECT_EQ(checkpoint.size_width(), 256);
  }
}

TEST(ImageCheckpoint, PublishedFileFits) {
  const Manifest manifest = sdxl_file();
  int64_t parameters = 0;
  for (const auto& [name, shape] : manifest)
    if (!name.ends_with("position_ids") && !name.ends_with("logit_scale")) parameters += element_count(shape);
  EXPECT_EQ(parameters, 2567463684 + 83653863 + 123060480 + 694659840);
  // Names that the published file is known by.
  for (const auto& [name, shape] : Manifest{
           {"model.diffusion_model.input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight", {640, 2048}},
           {"model.diffusion_model.input_blocks.8.1.transformer_blocks.9.ff.net.0.proj.weight",
            {10240, 1280}},
           {"model.diffusion_model.output_blocks.2.2.conv.weight", {1280, 1280, 3, 3}},
           {"model.diffusion_model.output_blocks.8.0.skip_connection.weight", {320, 640, 1, 1}},
           {"model.diffusion_model.label_emb.0.0.weight", {1280, 2816}},
           {"first_stage_model.decoder.up.3.block.0.conv1.weight", {512, 512, 3, 3}},
           {"first_stage_model.encoder.mid.attn_1.q.weight", {512, 512}},
           {"first_stage_model.post_quant_conv.weight", {4, 4, 1, 1}},
           {"conditioner.embedders.0.transformer.text_model.encoder.layers.11.self_attn.q_proj.weight",
            {768, 768}},
           {"conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_weight", {3840, 1280}},
           {"conditioner.embedders.1.model.text_projection", {1280, 1280}},
           {"conditioner.embedders.1.model.ln_final.weight", {1280}}}) {
    ASSERT_TRUE(manifest.count(name)) << name;
    EXPECT_EQ(manifest.at(name), shape) << name;
  }
  const TemporaryFolder folder;
  write_sparse_safetensors(folder / "model.safetensors", manifest);
  EXPECT_NO_THROW(ImageCheckpoint(folder / "model.safetensors"));
}

TEST(ImageCheckpoint, ShardsAreReadByTheirIndex) {
  const TemporaryFolder folder;
  write_folder(folder.path(), sdxl_folder());
  const Manifest unet = sdxl_folder().at("unet");
  Manifest shards[2];
  std::string map;
  for (const auto& [name, shape] : unet) {
    const int shard = name.starts_with("up_blocks") ? 1 : 0;
    shards[shard][name] = shape;
    map += (map.empty() ? "\"" : ",\"") + name + "\":\"diffusion_pytorch_model-0000" +
           std::to_string(shard + 1) + "-of-00002.safetensors\"";
  }
  fs::remove(folder / "unet/diffusion_pytorch_model.fp16.safetensors");
  for (int i = 0; i < 2; ++i)
    write_sparse_safetensors(
        folder / ("unet/diffusion_pytorch_model-0000" + std::to_string(i + 1) + "-of-00002.safetensors"),
        shards[i]);
  const fs::path index = folder / "unet/diffusion_pytorch_model.safetensors.index.json";
  write_text(index, "{\"weight_map\":{" + map + "}}");
  EXPECT_NO_THROW(ImageCheckpoint(folder.path()));
  fs::remove(folder / "unet/diffusion_pytorch_model-00002-of-00002.safetensors");
  EXPECT_ERROR(ImageCheckpoint(folder.path()), "00002-of-00002.safetensors', which is not there");
  write_text(index, "{]");
  EXPECT_ERROR(ImageCheckpoint(folder.path()), "is not valid JSON");
  write_text(index, "{}");
  EXPECT_ERROR(ImageCheckpoint(folder.path()), "no index of shards");
}

// Every tensor in turn with EG4D_TEST_ALL_TENSORS=1; otherwise a sample, as it takes a minute.
TEST(ImageCheckpoint, MissingAndMisshapenTensorsAreNamed) {
  const Manifest manifest = sdxl_file();
  const char* all = std::getenv("EG4D_TEST_ALL_TENSORS");
  const size_t stride = all && *all == '1' ? 1 : 149;
  size_t index = 0;
  for (const auto& [name, shape] : manifest) {
    if (index++ % stride != 0 || name.ends_with("position_ids") || name.ends_with("logit_scale")) continue;
    Manifest changed = manifest;
    changed.erase(name);
    std::string error = error_for(changed);
    EXPECT_TRUE(contains(error, "'" + name + "'")) << name << ": " << error;
    changed[name] = shape;
    ++changed[name][0];
    error = error_for(changed);
    EXPECT_TRUE(contains(error, "'" + name + "'")) << name << ": " << error;
  }
  for (const std::string name : {"model.diffusion_model.input_blocks.3.0.op.extra", "somebody.else",
                                 "conditioner.embedders.1.model.transformer.resblocks.0.ls_1",
                                 "first_stage_model.decoder.up.0.block.3.conv1.weight"}) {
    Manifest changed = manifest;
    changed[name] = {4};
    EXPECT_TRUE(contains(error_for(changed), name)) << name;
  }
}

TEST(ImageCheckpoint, FolderProblemsAreNamed) {
  FolderManifest files = sdxl_folder();
  files["text_encoder_2"].erase("text_model.encoder.layers.3.self_attn.k_proj.bias");
  EXPECT_TRUE(contains(error_for(files), "is missing"));
  files = sdxl_folder();
  files["unet"]["down_blocks.0.resnets.0.norm3.weight"] = {320};
  EXPECT_TRUE(contains(error_for(files), "norm3.weight' is surplus"));
  files = sdxl_folder();
  files.erase("text_encoder_2");
  EXPECT_TRUE(contains(error_for(files), "no text encoder 'text_encoder_2/model.safetensors'"));
  files = sdxl_folder();
  files.erase("vae");
  EXPECT_TRUE(contains(error_for(files), "vae/diffusion_pytorch_model.safetensors"));
}

TEST(ImageCheckpoint, OtherModelsAreToldApart) {
  EXPECT_TRUE(contains(error_for(read_manifest("svd")), "is a model for video"));
  EXPECT_TRUE(contains(error_for(Manifest{{"cond_stage_model.transformer.x", {4}},
                                          {"model.diffusion_model.time_embed.0.weight", {4, 4}}}),
                       "is Stable Diffusion 1 or 2, not SDXL"));
  EXPECT_TRUE(contains(error_for(Manifest{{"something", {4}}}), "is no checkpoint of SDXL"));
  const auto without = [](const std::string& prefix) {
    Manifest manifest = sdxl_file();
    std::erase_if(manifest, [&](const auto& item) { return item.first.starts_with(prefix); });
    return error_for(manifest);
  };
  EXPECT_TRUE(contains(without("conditioner.embedders.0."), "lacks a text encoder"));
  EXPECT_TRUE(contains(without("conditioner.embedders.1."), "lacks a text encoder"));
  EXPECT_TRUE(contains(without("first_stage_model."), "lacks the autoencoder"));
  Manifest manifest = sdxl_file();
  for (auto& [name, shape] : manifest)
    if (name.ends_with("attn2.to_k.weight") || name.ends_with("attn2.to_v.weight")) shape[1] = 1024;
  EXPECT_TRUE(contains(error_for(manifest), "takes texts of 1024 channels, the text encoders give 2048"));
  const TemporaryFolder folder;
  fs::create_directories(folder / "video/image_encoder");
  EXPECT_ERROR(ImageCheckpoint(folder / "video"), "is a model for video");
}

TEST(ImageCheckpoint, AnotherAutoencoderTakesThePlaceOfItsOwn) {
  const TemporaryFolder folder;
  Manifest model = sdxl_file();
  std::erase_if(model, [](const auto& item) { return item.first.starts_with("first_stage_model."); });
  write_sparse_safetensors(folder / "model.safetensors", model);
  const Manifest vae = read_manifest("sdxl_vae_diffusers");
  fs::create_directories(folder / "fix");
  write_sparse_safetensors(folder / "fix/diffusion_pytorch_model.safetensors", vae);
  write_text(folder / "fix/config.json", "{\"scaling_factor\": 0.5}");
  EXPECT_EQ(ImageCheckpoint(folder / "model.safetensors", folder / "fix").config().latent_scale, 0.5f);
  EXPECT_NO_THROW(
      ImageCheckpoint(folder / "model.safetensors", folder / "fix/diffusion_pytorch_model.safetensors"));

  // As the single-file layout names it, with and without the prefix, and by the folder's older names.
  Manifest single, bare, old;
  for (const auto& [name, shape] : sdxl_file())
    if (name.starts_with("first_stage_model.")) {
      single[name] = shape;
      bare[name.substr(18)] = shape;
    }
  for (const auto& [name, shape] : vae) {
    std::string renamed = name;
    for (const auto& [today, before] : {std::pair<std::string, std::string>{"to_q.", "query."},
                                        {"to_k.", "key."},
                                        {"to_v.", "value."},
                                        {"to_out.0.", "proj_attn."}})
      if (const size_t at = renamed.find("attentions.0." + today); at != std::string::npos)
        renamed.replace(at + 13, today.size(), before);
    old[renamed] = shape;
  }
  for (const Manifest& manifest : {single, bare, old}) {
    write_sparse_safetensors(folder / "vae.safetensors", manifest);
    EXPECT_NO_THROW(ImageCheckpoint(folder / "model.safetensors", folder / "vae.safetensors"));
    EXPECT_NO_THROW(ImageCheckpoint::check_autoencoder(folder / "vae.safetensors"));
  }
  bare.erase("decoder.conv_in.bias");
  write_sparse_safetensors(folder / "vae.safetensors", bare);
  EXPECT_ERROR(ImageCheckpoint(folder / "model.safetensors", folder / "vae.safetensors"),
               "conv_in.bias' is missing");
  EXPECT_ERROR(ImageCheckpoint::check_autoencoder(folder / "model.safetensors"), "surplus");
  EXPECT_ERROR(ImageCheckpoint::check_autoencoder(folder.path()), "no 'diffusion_pytorch_model.safetensors'");
}

TEST(ImageConfig, NonsenseIsNamed) {
  const TemporaryFolder folder;
  for (const char* part : {"unet", "vae", "text_encoder", "scheduler"}) fs::create_directories(folder / part);
  EXPECT_EQ(read_image_config(folder.path()).latent_scale, 0.13025f);
  const auto expect = [&](const std::string& file, const std::string& text, const std::string& complaint) {
    write_text(folder / file, text);
    EXPECT_ERROR(read_image_config(folder.path()), complaint);
    fs::remove(folder / file);
  };
  expect("vae/config.json", "{\"scaling_factor\": -1}", "not a positive number");
  expect("vae/config.json", "[]", "is no JSON object");
  expect("vae/config.json", "[", "is not valid JSON");
  expect("unet/config.json", "{\"attention_head_dim\": [5, \"x\"]}", "not a positive whole number");
  expect("text_encoder/config.json", "{\"hidden_act\": \"relu\"}", "\"relu\" is not built here");
  expect("scheduler/scheduler_config.json", "{\"prediction_type\": \"v_prediction\"}", "v_prediction");
  expect("scheduler/scheduler_config.json", "{\"num_train_timesteps\": 1e99}", "num_train_timesteps");
  write_text(folder / "unet/config.json", "{\"attention_head_dim\": 8, \"block_out_channels\": [1, 2, 3]}");
  EXPECT_EQ(read_image_config(folder.path()).unet_heads, (std::vector<int64_t>{8, 8, 8}));
}

}  // namespace
}  // namespace eg4d::test
