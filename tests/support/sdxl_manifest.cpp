#include "support/sdxl_manifest.h"

#include <stdexcept>

#include "diffusion/diffusers_layout.h"

namespace eg4d::test {

FolderManifest sdxl_folder() {
  return {{"unet", read_manifest("sdxl_unet_diffusers")},
          {"vae", read_manifest("sdxl_vae_diffusers")},
          {"text_encoder", read_manifest("sdxl_text_encoder_hf")},
          {"text_encoder_2", read_manifest("sdxl_text_encoder_2_hf")}};
}

Manifest sdxl_file() {
  const FolderManifest folder = sdxl_folder();
  const DiffusersNames names(
      DiffusersNames::structure_of_folder(DiffusersFamily::image, [&](const std::string& prefix) {
        const size_t slash = prefix.find('/');
        const Manifest& manifest = folder.at(prefix.substr(0, slash));
        const auto found = manifest.lower_bound(prefix.substr(slash + 1));
        return found != manifest.end() && found->first.starts_with(prefix.substr(slash + 1));
      }));
  Manifest file;
  for (const auto& [component, manifest] : folder)
    for (const auto& [name, shape] : manifest) {
      const auto place = names.to_single_file(component + "/" + name);
      if (!place) throw std::runtime_error("no place for " + name);
      Shape stored = shape;
      if (place->transposed) std::swap(stored[0], stored[1]);
      stored[0] *= static_cast<int64_t>(place->parts);
      file[place->name] = stored;
    }
  file["conditioner.embedders.1.model.logit_scale"] = {};
  file["conditioner.embedders.0.transformer.text_model.embeddings.position_ids"] = {1, 77};
  return file;
}

Manifest sdxl_control_net() {
  Manifest manifest = read_manifest("sdxl_unet_diffusers");
  std::erase_if(manifest, [](const auto& item) {
    return item.first.starts_with("up_blocks.") || item.first.starts_with("conv_norm_out.") ||
           item.first.starts_with("conv_out.");
  });
  const auto convolution = [&](const std::string& name, int64_t in, int64_t out, int64_t kernel) {
    manifest[name + ".weight"] = {out, in, kernel, kernel};
    manifest[name + ".bias"] = {out};
  };
  const std::vector<int64_t> hint = {16, 16, 32, 32, 96, 96, 256};
  convolution("controlnet_cond_embedding.conv_in", 3, hint[0], 3);
  for (size_t i = 0; i + 1 < hint.size(); ++i)
    convolution("controlnet_cond_embedding.blocks." + std::to_string(i), hint[i], hint[i + 1], 3);
  convolution("controlnet_cond_embedding.conv_out", hint.back(), 320, 3);
  const std::vector<int64_t> skips = {320, 320, 320, 320, 640, 640, 640, 1280, 1280};
  for (size_t i = 0; i < skips.size(); ++i)
    convolution("controlnet_down_blocks." + std::to_string(i), skips[i], skips[i], 1);
  convolution("controlnet_mid_block", 1280, 1280, 1);
  return manifest;
}

}  // namespace eg4d::test
