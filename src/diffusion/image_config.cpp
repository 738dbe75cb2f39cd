#include "diffusion/image_config.h"

#include <fmt/format.h>

#include "core/error.h"
#include "io/network_config.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

ImageModelConfig::Text text_config(const fs::path& path, ImageModelConfig::Text config) {
  const NetworkConfig file(path);
  if (file.has("num_attention_heads")) config.heads = file.whole("num_attention_heads", 1);
  const std::string activation = file.text("hidden_act", "");
  if (activation == "quick_gelu") {
    config.activation = Activation::quick_gelu;
  } else if (activation == "gelu") {
    config.activation = Activation::gelu;
  } else if (!activation.empty()) {
    throw Error(fmt::format("'{}': the activation \"{}\" is not built here", file.path(), activation));
  }
  return config;
}

// The library calls the number of heads attention_head_dim, for historical reasons.
std::vector<int64_t> heads_per_level(const NetworkConfig& file) {
  const size_t levels = file.length("block_out_channels");
  const std::vector<int64_t> heads = file.list("num_attention_heads", levels);
  return heads.empty() ? file.list("attention_head_dim", levels) : heads;
}

NoiseSchedule schedule_of(const fs::path& path) {
  const NetworkConfig file(path);
  const std::string prediction = file.text("prediction_type", "epsilon");
  if (prediction != "epsilon")
    throw Error(
        fmt::format("'{}': the network predicts \"{}\"; only those that predict noise (\"epsilon\") "
                    "can be run",
                    file.path(), prediction));
  const std::string betas = file.text("beta_schedule", "scaled_linear");
  if (betas != "scaled_linear")
    throw Error(fmt::format("'{}': the noise schedule \"{}\" is not built here", file.path(), betas));
  NoiseSchedule schedule;
  schedule.train_steps = static_cast<int>(file.whole("num_train_timesteps", schedule.train_steps));
  schedule.beta_start = file.number("beta_start", schedule.beta_start);
  schedule.beta_end = file.number("beta_end", schedule.beta_end);
  if (schedule.beta_end >= 1 || schedule.beta_start >= 1)
    throw Error(fmt::format("'{}': beta_start and beta_end must be below 1", file.path()));
  return schedule;
}

}  // namespace

ImageModelConfig read_image_config(const fs::path& folder) {
  ImageModelConfig config;
  config.unet_heads = heads_per_level(NetworkConfig(folder / "unet" / "config.json"));
  config.text[0] = text_config(folder / "text_encoder" / "config.json", config.text[0]);
  config.text[1] = text_config(folder / "text_encoder_2" / "config.json", config.text[1]);
  config.latent_scale = read_latent_scale(folder, config.latent_scale);
  config.zeros_for_no_prompt = NetworkConfig(folder / "model_index.json")
                                   .flag("force_zeros_for_empty_prompt", config.zeros_for_no_prompt);
  config.schedule = schedule_of(folder / "scheduler" / "scheduler_config.json");
  return config;
}

float read_latent_scale(const fs::path& folder, float otherwise) {
  for (const fs::path& path : {folder / "vae" / "config.json", folder / "config.json"})
    if (const NetworkConfig file(path); file.has("scaling_factor"))
      return static_cast<float>(file.number("scaling_factor", otherwise));
  return otherwise;
}

std::vector<int64_t> read_control_heads(const fs::path& folder) {
  const NetworkConfig file(folder / "config.json");
  if (file.text("_class_name", "") != "ControlNetModel") return {};
  const std::string order = file.text("controlnet_conditioning_channel_order", "rgb");
  if (order != "rgb")
    throw Error(
        fmt::format("'{}': hints with channels in the order \"{}\" are not built here", file.path(), order));
  if (file.flag("global_pool_conditions", false))
    throw Error(fmt::format("'{}': \"global_pool_conditions\" is not built here", file.path()));
  return heads_per_level(file);
}

}  // namespace eg4d
