#include "diffusion/image_checkpoint.h"

#include <fmt/format.h>

#include "core/error.h"
#include "diffusion/diffusers_folder.h"
#include "nn/loader.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

const std::string kUNet = "model.diffusion_model.", kFirstStage = "first_stage_model.";
const std::string kFirstText = "conditioner.embedders.0.transformer.text_model.",
                  kSecondText = "conditioner.embedders.1.model.";
const char* kWanted = "give SDXL-Turbo (\"eg4d models list\")";

// Folders say what they are before anything is opened.
void refuse_other_folders(const fs::path& folder) {
  if (fs::exists(folder / "image_encoder") && !fs::exists(folder / "text_encoder"))
    throw Error(
        fmt::format("'{}' is a model for video, Stable Video Diffusion: {}", folder.string(), kWanted));
  for (const char* name : {"text_encoder", "text_encoder_2"})
    if (fs::exists(folder / "unet") && !fs::exists(folder / name))
      throw Error(
          fmt::format("'{}' has no text encoder '{}/model.safetensors', of which SDXL has two (Stable "
                      "Diffusion 1 and 2 have one): complete the folder, or {}",
                      folder.string(), name, kWanted));
}

WeightMap read(const fs::path& path, const fs::path& autoencoder) {
  if (fs::is_directory(path)) refuse_other_folders(path);
  WeightMap weights =
      fs::is_directory(path) ? read_diffusers_folder(path, DiffusersFamily::image) : WeightMap(path);
  // Constants that some files hold.
  weights.remove(kFirstText + "embeddings.position_ids");
  weights.remove("denoiser.sigmas");
  if (autoencoder.empty()) return weights;
  const WeightMap replaced = weights.below(kFirstStage);
  for (const auto& [name, item] : replaced.items()) weights.remove(name);
  weights.add(read_autoencoder(autoencoder));
  return weights;
}

void check_networks_of_autoencoder(const WeightMap& weights) {
  AutoencoderEncoder::check(weights, kFirstStage);
  AutoencoderDecoder::check(weights, kFirstStage);
}

fs::path merges_file(const fs::path& folder, size_t which) {
  return folder / (which == 0 ? "tokenizer" : "tokenizer_2") / "merges.txt";
}

std::vector<std::string> autoencoder_prefixes() {
  return {kFirstStage + "encoder.", kFirstStage + "decoder.", kFirstStage + "quant_conv.",
          kFirstStage + "post_quant_conv."};
}

ImageModelConfig config_of(const fs::path& path, const fs::path& autoencoder) {
  ImageModelConfig config = fs::is_directory(path) ? read_image_config(path) : ImageModelConfig{};
  if (!autoencoder.empty())
    config.latent_scale =
        read_latent_scale(fs::is_directory(autoencoder) ? autoencoder : autoencoder.parent_path(),
                          ImageModelConfig{}.latent_scale);
  return config;
}

}  // namespace

ImageCheckpoint::ImageCheckpoint(const fs::path& path, const fs::path& autoencoder)
    : weights_(read(path, autoencoder)) {
  refuse_other_models();
  check();
  config_ = config_of(path, autoencoder);
  if (fs::is_directory(path)) read_tokenizers(path);
}

void ImageCheckpoint::read_tokenizers(const fs::path& folder) {
  for (const size_t which : {size_t{0}, size_t{1}}) {
    const fs::path file = merges_file(folder, which);
    if (!fs::exists(file)) continue;
    tokenizers_[which] = std::make_shared<ClipTokenizer>(file);
    tokenizer(which);  // does it fit?
  }
}

const ClipTokenizer& ImageCheckpoint::tokenizer(size_t which) const {
  const bool own = tokenizers_.at(which) != nullptr;
  const ClipTokenizer& tokenizer = own ? *tokenizers_[which] : ClipTokenizer::built_in();
  const int64_t table = extent(
      which == 0 ? kFirstText + "embeddings.token_embedding.weight" : kSecondText + "token_embedding.weight",
      0);
  if (tokenizer.vocabulary() == table) return tokenizer;
  const std::string file = weights_.path().string();
  throw Error(fmt::format(
      "{} {} tokens, but the text encoder's table holds {}: give the merges.txt that belongs to it",
      own ? fmt::format("'{}' makes", merges_file(weights_.path(), which).string())
          : fmt::format("'{}' has no {}; CLIP's own vocabulary has", file, merges_file({}, which).string()),
      tokenizer.vocabulary(), table));
}

void ImageCheckpoint::refuse_other_models() const {
  const std::string file = weights_.path().string();
  const auto has = [&](const std::string& prefix) { return weights_.contains_prefix(prefix); };
  if (has(kUNet + "input_blocks.1.0.time_stack."))
    throw Error(fmt::format("'{}' is a model for video, Stable Video Diffusion or SV3D: {}", file, kWanted));
  if (has("cond_stage_model.") || (has(kUNet) && !has(kUNet + "label_emb.")))
    throw Error(fmt::format("'{}' is Stable Diffusion 1 or 2, not SDXL: {}", file, kWanted));
  if (!has(kUNet)) throw Error(fmt::format("'{}' is no checkpoint of SDXL: {}", file, kWanted));
  for (const std::string& encoder : {kFirstText, kSecondText})
    if (!has(encoder))
      throw Error(
          fmt::format("'{}' lacks a text encoder (tensors '{}*'): give the whole SDXL-Turbo file, or "
                      "its folder in the diffusers layout",
                      file, encoder));
  if (!has(kFirstStage))
    throw Error(
        fmt::format("'{}' lacks the autoencoder (tensors '{}*'): give one with --vae", file, kFirstStage));
}

void ImageCheckpoint::check_autoencoder(const fs::path& path) {
  const WeightMap weights = read_autoencoder(path);
  check_networks_of_autoencoder(weights);
  refuse_surplus(weights, autoencoder_prefixes());
}

int64_t ImageCheckpoint::extent(const std::string& name, size_t axis) const {
  return weights_.items().at(name).shape.at(axis);
}

void ImageCheckpoint::check() {
  unet_form_ = ImageUNet::check(weights_, kUNet);
  check_networks_of_autoencoder(weights_);
  ClipTextEncoder::check(weights_, kFirstText);
  ClipTextEncoder::check(weights_, kSecondText);
  std::vector<std::string> known = autoencoder_prefixes();
  known.insert(known.end(), {kUNet, kFirstText, kSecondText});
  refuse_surplus(weights_, known);

  // What goes from one network to the next.
  const auto refuse = [&](const std::string& what) {
    throw Error(fmt::format("'{}' does not fit the network: {}", weights_.path().string(), what));
  };
  if (!weights_.contains(kSecondText + "text_projection"))
    refuse(fmt::format("'{}text_projection' is missing", kSecondText));
  const int64_t context = extent(kUNet + "middle_block.1.transformer_blocks.0.attn2.to_v.weight", 1);
  if (context != context_width())
    refuse(fmt::format("it takes texts of {} channels, the text encoders give {}", context, context_width()));
  const int64_t sizes = extent(kUNet + "label_emb.0.0.weight", 1) - pooled_width();
  if (sizes <= 0 || sizes % kSizeNumbers != 0)
    refuse(fmt::format("'{}label_emb.0.0.weight' takes {} numbers, of which {} are the text's", kUNet,
                       sizes + pooled_width(), pooled_width()));
  if (extent(kUNet + "out.2.weight", 0) != 4) refuse(fmt::format("'{}out.2.weight' has not 4 rows", kUNet));
}

int64_t ImageCheckpoint::context_width() const {
  return extent(kFirstText + "final_layer_norm.weight", 0) + extent(kSecondText + "ln_final.weight", 0);
}
int64_t ImageCheckpoint::pooled_width() const {
  return extent(kSecondText + "text_projection", 1);
}
int64_t ImageCheckpoint::pixels_of_a_latent() const {
  int64_t pixels = 1;
  for (int level = 0;
       weights_.contains(fmt::format("{}encoder.down.{}.downsample.conv.weight", kFirstStage, level));
       ++level)
    pixels *= 2;
  return pixels;
}
int64_t ImageCheckpoint::size_width() const {
  return (extent(kUNet + "label_emb.0.0.weight", 1) - pooled_width()) / kSizeNumbers;
}

std::unique_ptr<ImageUNet> ImageCheckpoint::unet(Backend& backend, const NetworkType& type,
                                                 const SharedArena& arena) const {
  return std::make_unique<ImageUNet>(
      backend, weights_, kUNet,
      ImageUNet::Options{.heads = config_.unet_heads, .type = type, .arena = arena});
}

std::unique_ptr<AutoencoderEncoder> ImageCheckpoint::encoder(Backend& backend, const NetworkType& type,
                                                             const SharedArena& arena) const {
  return std::make_unique<AutoencoderEncoder>(backend, weights_, kFirstStage,
                                              AutoencoderOptions{type, arena});
}

std::unique_ptr<AutoencoderDecoder> ImageCheckpoint::decoder(Backend& backend, const NetworkType& type,
                                                             const SharedArena& arena) const {
  return std::make_unique<AutoencoderDecoder>(backend, weights_, kFirstStage,
                                              AutoencoderOptions{type, arena});
}

std::unique_ptr<ClipTextEncoder> ImageCheckpoint::text_encoder(Backend& backend, size_t which,
                                                               const NetworkType& type) const {
  const ImageModelConfig::Text& text = config_.text.at(which);
  return std::make_unique<ClipTextEncoder>(
      backend, weights_, which == 0 ? kFirstText : kSecondText,
      ClipTextEncoder::Options{.heads = text.heads, .activation = text.activation, .type = type});
}

}  // namespace eg4d
