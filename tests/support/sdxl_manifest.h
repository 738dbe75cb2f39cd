#pragma once

#include "support/manifest.h"

namespace eg4d::test {

// Names and shapes of SDXL as published: a manifest per network of the folder layout ("unet", "vae",
// "text_encoder", "text_encoder_2"), and the single file.
using FolderManifest = std::map<std::string, Manifest>;
FolderManifest sdxl_folder();
Manifest sdxl_file();
// The ControlNets for it: the first half of the UNet, and the published further layers.
Manifest sdxl_control_net();

}  // namespace eg4d::test
