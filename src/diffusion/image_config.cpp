#include "diffusion/image_config.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/json_file.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// A JSON file, an empty object when there is none.
class ConfigFile {
 public:
  explicit ConfigFile(const fs::path& path) : path_(path.string()), values_(json::object()) {
    if (!fs::is_regular_file(path)) return;
    values_ = read_json(path);
    if (!values_.is_object()) throw Error(fmt::format("'{}' is no JSON object", path_));
  }

  bool has(const char* name) const { return values_.contains(name) && !values_[name].is_null(); }
  double number(const char* name, double otherwise) const {
    if (!has(name)) return otherwise;
    const json& value = values_[name];
    if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() <= 0)
      throw Error(fmt::format("'{}': \"{}\" is {}, not a positive number", path_, name, value.dump()));
    return value.get<double>();
  }
  int64_t whole(const char* name, int64_t otherwise) const {
    const double value = number(name, static_cast<double>(otherwise));
    if (value != std::floor(value) || value > 1 << 20)
      throw Error(fmt::format("'{}': \"{}\" is {}, not a reasonable whole number", path_, name, value));
    return static_cast<int64_t>(value);
  }
  std::string text(const char* name, const std::string& otherwise) const {
    return has(name) && values_[name].is_string() ? values_[name].get<std::string>() : otherwise;
  }
  bool flag(const char* name, bool otherwise) const {
    return has(name) && values_[name].is_boolean() ? values_[name].get<bool>() : otherwise;
  }
  // A list of whole numbers from `least` on, or one number that stands for `count` of them.
  std::vector<int64_t> list(const char* name, size_t count, int64_t least = 1) const {
    if (!has(name)) return {};
    if (!values_[name].is_array()) return std::vector<int64_t>(count, whole(name, 1));
    std::vector<int64_t> numbers;
    for (const json& value : values_[name]) {
      if (!value.is_number_integer() || value.get<int64_t>() < least)
        throw Error(
            fmt::format("'{}': \"{}\" holds {}, not a positive whole number", path_, name, value.dump()));
      numbers.push_back(value.get<int64_t>());
    }
    return numbers;
  }
  size_t length(const char* name) const { return has(name) ? values_[name].size() : 0; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  json values_;
};

ImageModelConfig::Text text_config(const fs::path& path, ImageModelConfig::Text config) {
  const ConfigFile file(path);
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
std::vector<int64_t> heads_per_level(const ConfigFile& file) {
  const size_t levels = file.length("block_out_channels");
  const std::vector<int64_t> heads = file.list("num_attention_heads", levels);
  return heads.empty() ? file.list("attention_head_dim", levels) : heads;
}

NoiseSchedule schedule_of(const fs::path& path) {
  const ConfigFile file(path);
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
  config.unet_heads = heads_per_level(ConfigFile(folder / "unet" / "config.json"));
  config.text[0] = text_config(folder / "text_encoder" / "config.json", config.text[0]);
  config.text[1] = text_config(folder / "text_encoder_2" / "config.json", config.text[1]);
  config.latent_scale = read_latent_scale(folder, config.latent_scale);
  config.zeros_for_no_prompt = ConfigFile(folder / "model_index.json")
                                   .flag("force_zeros_for_empty_prompt", config.zeros_for_no_prompt);
  config.schedule = schedule_of(folder / "scheduler" / "scheduler_config.json");
  return config;
}

float read_latent_scale(const fs::path& folder, float otherwise) {
  for (const fs::path& path : {folder / "vae" / "config.json", folder / "config.json"})
    if (const ConfigFile file(path); file.has("scaling_factor"))
      return static_cast<float>(file.number("scaling_factor", otherwise));
  return otherwise;
}

std::vector<int64_t> read_control_heads(const fs::path& folder) {
  const ConfigFile file(folder / "config.json");
  if (file.text("_class_name", "") != "ControlNetModel") return {};
  const std::string order = file.text("controlnet_conditioning_channel_order", "rgb");
  if (order != "rgb")
    throw Error(
        fmt::format("'{}': hints with channels in the order \"{}\" are not built here", file.path(), order));
  if (file.flag("global_pool_conditions", false))
    throw Error(fmt::format("'{}': \"global_pool_conditions\" is not built here", file.path()));
  return heads_per_level(file);
}

DptHybrid::Options read_dpt_options(const fs::path& folder) {
  const ConfigFile file(folder / "config.json");
  DptHybrid::Options options;
  if (file.text("model_type", "") != "dpt") return options;
  if (!file.flag("is_hybrid", true))
    throw Error(
        fmt::format("'{}' is DPT without a residual network; only DPT-Hybrid is built here", file.path()));
  if (file.has("num_attention_heads")) options.heads = file.whole("num_attention_heads", 1);
  const std::vector<int64_t> indices = file.list("backbone_out_indices", 4, 0);
  if (indices.size() == 4) options.taps = {indices[2], indices[3]};
  return options;
}

}  // namespace eg4d
