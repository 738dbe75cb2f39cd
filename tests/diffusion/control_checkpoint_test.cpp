// ControlNets of SDXL's real size (sparse: zeros that take no room) against the architecture.

#include "diffusion/control_checkpoint.h"

#include <gtest/gtest.h>

#include <functional>

#include "pipeline/model_catalog.h"
#include "support/expect_error.h"
#include "support/hashed_weights.h"
#include "support/places.h"
#include "support/sdxl_manifest.h"
#include "support/temporary_folder.h"
#include "support/tiny_image_model.h"

namespace eg4d::test {
namespace {

void open_sparse(const Manifest& manifest) {
  const TemporaryFolder folder;
  write_sparse_safetensors(folder / "control.safetensors", manifest);
  ControlNetCheckpoint checkpoint(folder / "control.safetensors");
}

std::string error_for(const Manifest& manifest) {
  return error_of([&] { open_sparse(manifest); });
}

TEST(ControlNetCheckpoint, PublishedFolderAndFileFit) {
  const TemporaryFolder folder;
  const Manifest manifest = sdxl_control_net();
  int64_t parameters = 0;
  for (const auto& [name, shape] : manifest) parameters += element_count(shape);
  EXPECT_EQ(parameters, find_model_entry("controlnet_depth_sdxl").parameters);
  write_sparse_safetensors(folder / "model.safetensors", sdxl_file());
  const ImageCheckpoint model(folder / "model.safetensors");
  EXPECT_EQ(model.pixels_of_a_latent(), 8);
  for (const char* file : {"diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors",
                           "any.safetensors"}) {
    std::filesystem::create_directories(folder / "control");
    write_sparse_safetensors(folder / "control" / file, manifest);
    ControlNetCheckpoint(std::string(file) == "any.safetensors" ? folder / "control" / file
                                                                : folder / "control")
        .check_fits(model);
    std::filesystem::remove_all(folder / "control");
  }
}

// Fewer transformer blocks, or none, as in the published small ones.
TEST(ControlNetCheckpoint, SmallerOnesFit) {
  const auto without = [](Manifest manifest, const std::function<bool(const std::string&)>& matches) {
    std::erase_if(manifest, [&](const auto& item) { return matches(item.first); });
    return manifest;
  };
  const Manifest full = sdxl_control_net();
  EXPECT_NO_THROW(open_sparse(without(full, [](const std::string& name) {
    const size_t at = name.find(".transformer_blocks.");
    return at != std::string::npos && name[at + 20] != '0';
  })));
  const Manifest plain = without(full, [](const std::string& name) {
    return name.find("down_blocks") == 0 && name.find(".attentions.") != std::string::npos;
  });
  EXPECT_NO_THROW(open_sparse(plain));
  // The middle's transformer without blocks: a norm and two linear layers.
  const Manifest hollow = without(
      plain, [](const std::string& name) { return name.find(".transformer_blocks.") != std::string::npos; });
  EXPECT_EQ(hollow.count("mid_block.attentions.0.proj_in.weight"), 1u);
  EXPECT_NO_THROW(open_sparse(hollow));
  const Manifest bare =
      without(hollow, [](const std::string& name) { return name.starts_with("mid_block.attentions."); });
  EXPECT_NO_THROW(open_sparse(bare));
  EXPECT_NO_THROW(open_sparse(
      without(bare, [](const std::string& name) { return name.starts_with("mid_block.resnets.1."); })));
  // Transformers of the input blocks alone tell the text's channels, too.
  EXPECT_NO_THROW(open_sparse(
      without(full, [](const std::string& name) { return name.starts_with("mid_block.attentions."); })));
  // Half a middle is none of these.
  const std::string error = error_for(without(
      hollow, [](const std::string& name) { return name == "mid_block.attentions.0.proj_out.weight"; }));
  EXPECT_TRUE(contains(error, "proj_out.weight' is missing")) << error;
}

TEST(ControlNetCheckpoint, MissingMisshapenAndSurplusTensorsAreNamed) {
  const Manifest manifest = sdxl_control_net();
  size_t index = 0;
  for (const auto& [name, shape] : manifest) {
    const bool own = name.starts_with("controlnet_");
    if (index++ % 83 != 0 && !own) continue;
    // The names of what the UNet has too are the single-file layout's.
    const std::string shown = own ? "control_model." + name : "control_model.";
    Manifest changed = manifest;
    changed.erase(name);
    EXPECT_TRUE(contains(error_for(changed), "'" + shown)) << name;
    changed[name] = shape;
    ++changed[name][0];
    EXPECT_TRUE(contains(error_for(changed), "'" + shown)) << name;
  }
  for (const std::string name :
       {"controlnet_down_blocks.9.weight", "controlnet_mid_block.scale",
        "down_blocks.0.resnets.0.norm3.weight", "up_blocks.0.resnets.0.norm1.weight"}) {
    Manifest changed = manifest;
    changed[name] = {4};
    const std::string error = error_for(changed);
    EXPECT_TRUE(contains(error, "surplus") || contains(error, "does not fit")) << name << ": " << error;
  }
}

TEST(ControlNetCheckpoint, OtherNetworksAreRefused) {
  EXPECT_TRUE(contains(error_for(read_manifest("sdxl_unet_diffusers")), "is no ControlNet"));
  EXPECT_TRUE(contains(error_for(sdxl_file()), "is no ControlNet"));
  EXPECT_TRUE(contains(error_for({{"x", {4}}}), "is no ControlNet"));
  const TemporaryFolder folder;
  EXPECT_ERROR(ControlNetCheckpoint(folder.path()), "give a ControlNet's folder or file");
  EXPECT_ERROR(ControlNetCheckpoint(folder / "nothing.safetensors"), "nothing.safetensors");
  write_tiny_image_model(folder / "tiny");
  const ImageCheckpoint tiny(folder / "tiny");
  copy_model_folder(test_data() / "controlnet", folder / "own");
  EXPECT_NO_THROW(ControlNetCheckpoint(folder / "own").check_fits(tiny));
  write_sparse_safetensors(folder / "large.safetensors", sdxl_control_net());
  EXPECT_ERROR(ControlNetCheckpoint(folder / "large.safetensors").check_fits(tiny),
               "it takes texts of 2048 channels, not 80");
  for (const auto& [text, complaint] :
       {std::pair<std::string, std::string>{"\"controlnet_conditioning_channel_order\": \"bgr\"", "\"bgr\""},
        {"\"global_pool_conditions\": true", "global_pool_conditions"},
        {"\"attention_head_dim\": [0]", "not a positive whole number"}}) {
    write_text(folder / "config.json", "{\"_class_name\": \"ControlNetModel\", " + text + "}");
    EXPECT_ERROR(ControlNetCheckpoint(folder / "large.safetensors"), complaint);
  }
}

}  // namespace
}  // namespace eg4d::test
