#pragma once

#include <filesystem>

#include "diffusion/diffusers_layout.h"

namespace eg4d {

// The tensors of a folder under the names of the single-file layout. A network's file may be its fp16
// variant, which is preferred, or in shards with an index. Throws Error for a missing file or a tensor that
// does not belong there.
WeightMap read_diffusers_folder(const std::filesystem::path& folder,
                                DiffusersFamily family = DiffusersFamily::video);

// An image autoencoder by itself, under "first_stage_model.": a folder (or the one that holds it as vae/), a
// file with a folder's names, or a single-file one with or without that prefix.
WeightMap read_autoencoder(const std::filesystem::path& file_or_folder);

// A video UNet by itself, under "model.diffusion_model.": a folder (or the one that holds it as unet/), a
// file with a folder's names, as distilled UNets are published, or a single-file checkpoint's.
WeightMap read_video_unet(const std::filesystem::path& file_or_folder);

// A ControlNet for SDXL, from a folder or its file: under "control_model." and the single-file layout's names
// of the UNet's first half; what only a ControlNet has keeps its names.
WeightMap read_control_net(const std::filesystem::path& file_or_folder);

}  // namespace eg4d
