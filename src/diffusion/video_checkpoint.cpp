#include "diffusion/video_checkpoint.h"

#include <fmt/format.h>

#include "core/error.h"
#include "diffusion/diffusers_folder.h"
#include "nn/loader.h"

namespace eg4d {
namespace {

const std::string kUNet = "model.diffusion_model.", kFirstStage = "first_stage_model.";
const std::string kClip = "conditioner.embedders.0.open_clip.model.", kVisual = kClip + "visual.";

// Widths of the vector conditions: SVD has three numbers of 256 sinusoids each, SV3D_u one, SV3D_p one and
// two angles of 512.
constexpr int64_t kSvdVector = 3 * 256, kSv3dUVector = 256, kSv3dPVector = 256 + 2 * 512;

// The text side of the image embedder's model: in the published files, but without a use. All or nothing.
void check_text_leftovers(const WeightMap& weights) {
  const auto is_leftover = [](const std::string& name) {
    return name.starts_with(kClip) && !name.starts_with(kVisual);
  };
  WeightMap leftovers = weights;
  bool any = false;
  for (const auto& [name, item] : weights.items()) {
    if (!is_leftover(name)) leftovers.remove(name);
    any = any || is_leftover(name);
  }
  if (!any) return;
  Loader::check(leftovers, kClip, [](Loader& loader) {
    const int64_t width = loader.extent({{"ln_final.weight", 0},
                                         {"ln_final.bias", 0},
                                         {"text_projection", 0},
                                         {"positional_embedding", 1},
                                         {"token_embedding.weight", 1}});
    const auto free_extent = [&](const char* name, size_t axis) {
      return loader.has(name) ? loader.extent({{name, axis}}) : 1;
    };
    loader.unused("ln_final.weight", {width});
    loader.unused("ln_final.bias", {width});
    loader.unused("logit_scale", {});
    loader.unused("text_projection", {width, free_extent("text_projection", 1)});
    loader.unused("positional_embedding", {free_extent("positional_embedding", 0), width});
    loader.unused("token_embedding.weight", {free_extent("token_embedding.weight", 0), width});
  });
}

void expect_extent(const WeightMap& weights, const std::string& name, size_t axis, int64_t expected) {
  const Shape& shape = weights.items().at(name).shape;
  if (shape.at(axis) != expected)
    throw Error(fmt::format("'{}' does not fit the network: '{}' has shape {}, expected {} in place of {}",
                            weights.path().string(), name, to_string(shape), expected, shape.at(axis)));
}

}  // namespace

const char* name_of(VideoCheckpoint::Kind kind) {
  switch (kind) {
    case VideoCheckpoint::Kind::svd:
      return "svd";
    case VideoCheckpoint::Kind::sv3d_u:
      return "sv3d_u";
    case VideoCheckpoint::Kind::sv3d_p:
      return "sv3d_p";
  }
  return "?";
}

VideoCheckpoint::VideoCheckpoint(const std::filesystem::path& path, const std::filesystem::path& unet)
    : weights_(std::filesystem::is_directory(path) ? read_diffusers_folder(path) : WeightMap(path)) {
  if (!weights_.contains_prefix(kUNet) && weights_.contains("conv_in.weight"))
    throw Error(fmt::format("'{}' holds a UNet alone: give it as --unet, beside a --model that has the rest",
                            path.string()));
  if (!unet.empty()) take_unet(unet);
  find_kind();
  check();
}

void VideoCheckpoint::take_unet(const std::filesystem::path& path) {
  const WeightMap unet = read_video_unet(path);
  VideoUNet::check(unet, kUNet);
  const auto heads = [](const WeightMap& weights) { return weights.metadata_number("num_head_channels", 0); };
  if (heads(unet) != 0 && heads(weights_) != 0 && heads(unet) != heads(weights_))
    throw Error(fmt::format("'{}' has attention heads of {} channels, '{}' of {}", path.string(), heads(unet),
                            weights_.path().string(), heads(weights_)));
  const WeightMap own = weights_.below(kUNet);
  const std::string vector = kUNet + "label_emb.0.0.weight";
  if (own.contains(vector) && own.items().at(vector).shape != unet.items().at(vector).shape)
    throw Error(fmt::format("'{}' is the UNet of another model: '{}' has shape {}, in '{}' it has {}",
                            path.string(), vector, to_string(unet.items().at(vector).shape),
                            weights_.path().string(), to_string(own.items().at(vector).shape)));
  for (const auto& [name, item] : own.items()) weights_.remove(name);
  weights_.add(unet);
}

void VideoCheckpoint::find_kind() {
  const std::string name = kUNet + "label_emb.0.0.weight";
  const auto found = weights_.items().find(name);
  if (found == weights_.items().end())
    throw Error(fmt::format("'{}' is no checkpoint of Stable Video Diffusion or SV3D: '{}' is missing",
                            weights_.path().string(), name));
  const Shape& shape = found->second.shape;
  const int64_t width = shape.size() == 2 ? shape[1] : 0;
  if (width == kSvdVector) {
    kind_ = Kind::svd;
  } else if (width == kSv3dUVector) {
    kind_ = Kind::sv3d_u;
  } else if (width == kSv3dPVector) {
    kind_ = Kind::sv3d_p;
  } else {
    throw Error(fmt::format(
        "'{}' is no checkpoint of Stable Video Diffusion or SV3D: '{}' has shape {}, expected a "
        "width of {} (svd), {} (sv3d_u) or {} (sv3d_p)",
        weights_.path().string(), name, to_string(shape), kSvdVector, kSv3dUVector, kSv3dPVector));
  }
}

// The conditioning picture is embedded after fps_id and motion_bucket_id in SVD.
std::string VideoCheckpoint::condition_prefix() const {
  return fmt::format("conditioner.embedders.{}.encoder.", kind_ == Kind::svd ? 3 : 1);
}

void VideoCheckpoint::check() const {
  const std::string condition = condition_prefix();
  VideoUNet::check(weights_, kUNet);
  ClipImageEncoder::check(weights_, kVisual);
  check_text_leftovers(weights_);
  AutoencoderEncoder::check(weights_, condition);
  AutoencoderDecoder::check(weights_, kFirstStage);
  // In the published files, but without a use here.
  if (weights_.contains_prefix(condition + "decoder.")) AutoencoderDecoder::check(weights_, condition);
  if (weights_.contains_prefix(kFirstStage + "encoder.")) AutoencoderEncoder::check(weights_, kFirstStage);

  const std::vector<std::string> known = {kUNet,
                                          kClip,
                                          condition + "encoder.",
                                          condition + "decoder.",
                                          condition + "quant_conv.",
                                          condition + "post_quant_conv.",
                                          kFirstStage + "encoder.",
                                          kFirstStage + "decoder.",
                                          kFirstStage + "quant_conv.",
                                          kFirstStage + "post_quant_conv."};
  refuse_surplus(weights_, known);

  // What goes from one network to the next.
  const int64_t context = weights_.items().at(kVisual + "proj").shape.at(1);
  expect_extent(weights_, kUNet + "middle_block.1.transformer_blocks.0.attn2.to_v.weight", 1, context);
  expect_extent(weights_, kUNet + "out.2.weight", 0, 4);
  expect_extent(weights_, kVisual + "conv1.weight", 1, 3);
}

std::unique_ptr<VideoUNet> VideoCheckpoint::unet(Backend& backend, const NetworkType& type,
                                                 const SharedArena& arena) const {
  return std::make_unique<VideoUNet>(backend, weights_, kUNet,
                                     VideoUNet::Options{.type = type, .arena = arena});
}

std::unique_ptr<ClipImageEncoder> VideoCheckpoint::image_encoder(Backend& backend, const NetworkType& type,
                                                                 const SharedArena& arena) const {
  return std::make_unique<ClipImageEncoder>(backend, weights_, kVisual,
                                            ClipImageEncoder::Options{.type = type, .arena = arena});
}

std::unique_ptr<AutoencoderEncoder> VideoCheckpoint::condition_encoder(Backend& backend,
                                                                       const NetworkType& type,
                                                                       const SharedArena& arena) const {
  return std::make_unique<AutoencoderEncoder>(backend, weights_, condition_prefix(),
                                              AutoencoderOptions{type, arena});
}

std::unique_ptr<AutoencoderDecoder> VideoCheckpoint::decoder(Backend& backend, const NetworkType& type,
                                                             const SharedArena& arena) const {
  return std::make_unique<AutoencoderDecoder>(backend, weights_, kFirstStage,
                                              AutoencoderOptions{type, arena});
}

}  // namespace eg4d
