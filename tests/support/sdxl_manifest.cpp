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

}  // namespace eg4d::test
