#pragma once

#include <array>
#include <filesystem>
#include <vector>

#include "backend/neural_ops.h"
#include "diffusion/image_euler_sampler.h"

namespace eg4d {

// What the tensors of a text-to-image model do not tell. The defaults are SDXL-Turbo's.
struct ImageModelConfig {
  std::vector<int64_t> unet_heads;  // attention heads per level; empty: 64 channels each
  struct Text {
    int64_t heads = 0;  // 0: 64 channels each
    Activation activation = Activation::gelu;
  };
  std::array<Text, 2> text = {Text{0, Activation::quick_gelu}, Text{0, Activation::gelu}};
  float latent_scale = 0.13025f;    // latents times it have deviation 1
  bool zeros_for_no_prompt = true;  // the embeddings of a negative prompt that is not given are zeros
  NoiseSchedule schedule;
};

// From the config.json files of a folder in the diffusers layout; entries and files that are not there keep
// their defaults. Throws Error for nonsense and for what is not built here (a network that predicts anything
// but noise, other activations).
ImageModelConfig read_image_config(const std::filesystem::path& folder);
// The autoencoder's own factor, from its config.json in `folder` or folder/vae; `otherwise` where there is
// none.
float read_latent_scale(const std::filesystem::path& folder, float otherwise);

// The attention heads per level of a ControlNet, from the config.json in its folder; empty where that is not
// a ControlNet's or says nothing. Throws Error for kinds that are not built here.
std::vector<int64_t> read_control_heads(const std::filesystem::path& folder);

}  // namespace eg4d
