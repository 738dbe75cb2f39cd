#include "diffusion/clip_image.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "diffusion/clip_blocks.h"

namespace eg4d {
namespace {

constexpr int64_t kOpenClipHeadChannels = 80;

struct Layers {
  ClipNames names = ClipNames::open_clip;
  int64_t width = 0, out = 0, patch = 0, channels = 0, grid = 0;
  LinearLayer patch_embedding, projection;
  Tensor class_token, positions;  // [1,width], [grid²+1,width]
  NormLayer norm_before, norm_after;
  std::vector<ClipBlock> blocks;
};

// What the two layouts call the tensors outside the blocks.
struct Names {
  const char *class_token, *patches, *positions, *norm_before, *norm_after, *projection, *blocks;
};
constexpr Names kOpenClip = {
    "class_embedding", "conv1.weight", "positional_embedding", "ln_pre", "ln_post", "proj", ""};
constexpr Names kHuggingFace = {"vision_model.embeddings.class_embedding",
                                "vision_model.embeddings.patch_embedding.weight",
                                "vision_model.embeddings.position_embedding.weight",
                                "vision_model.pre_layrnorm",
                                "vision_model.post_layernorm",
                                "visual_projection.weight",
                                "vision_model"};

Layers build(Loader& loader) {
  Layers layers;
  const bool own = !loader.has_below("vision_model");
  layers.names = own ? ClipNames::open_clip : ClipNames::hugging_face;
  const Names& names = own ? kOpenClip : kHuggingFace;
  const size_t projected = own ? 1 : 0;  // the axis of the result in the projection
  layers.width = loader.extent({{names.class_token, 0},
                                {(std::string(names.norm_before) + ".weight").c_str(), 0},
                                {(std::string(names.norm_after) + ".weight").c_str(), 0},
                                {names.patches, 0},
                                {names.projection, 1 - projected}});
  layers.out = loader.extent({{names.projection, projected}});
  layers.channels = loader.extent({{names.patches, 1}});
  layers.patch = loader.extent({{names.patches, 2}, {names.patches, 3}});
  const int64_t tokens = loader.extent({{names.positions, 0}});
  layers.grid = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(tokens - 1))));
  if (layers.grid < 1 || layers.grid * layers.grid + 1 != tokens)
    loader.complain(fmt::format("'{}' has {} rows, expected a square and one", names.positions, tokens));

  const int64_t width = layers.width, area = layers.patch * layers.patch;
  const std::vector<float> patches =
      loader.values(names.patches, {width, layers.channels, layers.patch, layers.patch});
  layers.patch_embedding =
      packed_linear(loader, area * layers.channels, width, swap_last_axes(patches, layers.channels, area));
  std::vector<float> projection =
      loader.values(names.projection, own ? Shape{width, layers.out} : Shape{layers.out, width});
  if (own) projection = swap_last_axes(projection, width, layers.out);
  layers.projection = packed_linear(loader, width, layers.out, projection);
  const std::vector<float> class_token = loader.values(names.class_token, {width});
  const std::vector<float> positions = loader.values(names.positions, {tokens, width});
  layers.class_token = loader.constants({1, width}, class_token);
  layers.positions = loader.constants({tokens, width}, positions);
  layers.norm_before = loader.norm(names.norm_before, width, kClipNormEpsilon);
  layers.norm_after = loader.norm(names.norm_after, width, kClipNormEpsilon);
  layers.blocks = clip_blocks(own ? loader : loader.at(names.blocks), width, layers.names);
  return layers;
}

int64_t head_channels_of(const WeightMap& weights, int64_t wanted, ClipNames names) {
  if (wanted > 0) return wanted;
  return weights.metadata_number("clip_head_channels",
                                 names == ClipNames::open_clip ? kOpenClipHeadChannels : kClipHeadChannels);
}

}  // namespace

struct ClipImageEncoder::Network {
  Network(Backend& b, Layers l, const Options& options, int64_t head)
      : backend(b),
        arena(options.arena ? options.arena : std::make_shared<Arena>(b)),
        layers(std::move(l)),
        type(options.type),
        head_channels(head),
        activation(options.activation.value_or(
            layers.names == ClipNames::open_clip ? Activation::gelu : Activation::quick_gelu)) {}
  Tensor tokens(Session& session, const Tensor& pictures) const;
  Tensor embedding(Session& session, const Tensor& pictures) const;

  Backend& backend;
  const std::shared_ptr<Arena> arena;
  Layers layers;
  const NetworkType type;
  const int64_t head_channels;
  const Activation activation;
  std::unique_ptr<PreparedFunction> one;  // of embed()
};

ClipImageEncoder::ClipImageEncoder(Backend& backend, const WeightMap& weights, const std::string& prefix,
                                   const Options& options) {
  Layers layers = Loader::load(backend, weights, prefix, options.type, build);
  const int64_t head = head_channels_of(weights, options.head_channels, layers.names);
  network_ = std::make_unique<Network>(backend, std::move(layers), options, head);
  if (network_->layers.width % head != 0)
    throw Error(fmt::format(
        "an image tower of width {} cannot be divided into attention heads of {}: give the file's "
        "metadata clip_head_channels",
        network_->layers.width, head));
}

ClipImageEncoder::~ClipImageEncoder() = default;

void ClipImageEncoder::check(const WeightMap& weights, const std::string& prefix) {
  Loader::check(weights, prefix, build);
}

int64_t ClipImageEncoder::picture_size() const {
  return network_->layers.grid * network_->layers.patch;
}
int64_t ClipImageEncoder::width() const {
  return network_->layers.out;
}

// [N·(grid²+1),width]: class token and patches, before the positions are added.
Tensor ClipImageEncoder::Network::tokens(Session& session, const Tensor& pictures) const {
  const int64_t count = pictures.dim(0), patches = layers.grid * layers.grid, width = layers.width;
  const Tensor cut = session.empty({count * patches, layers.patch_embedding.in});
  session.run(Patches{.batch = count,
                      .height = pictures.dim(1),
                      .width = pictures.dim(2),
                      .channels = layers.channels,
                      .patch = layers.patch,
                      .x = pictures.array(),
                      .y = cut.array()});
  const Tensor embedded =
      layers.patch_embedding(session, cut).reshaped({count, layers.grid, layers.grid, width});
  session.observe("patch_embed", embedded);
  Tensor all = session.empty({count * (patches + 1), width});
  session.run(CopyRows{.rows = count,
                       .width = width,
                       .from = layers.class_token.array(),
                       .from_pitch = 0,
                       .to = all.array(),
                       .to_pitch = (patches + 1) * width});
  session.run(CopyRows{.rows = count,
                       .width = patches * width,
                       .from = embedded.array(),
                       .from_pitch = patches * width,
                       .to = all.array().at(width),
                       .to_pitch = (patches + 1) * width});
  return all;
}

Tensor ClipImageEncoder::Network::embedding(Session& session, const Tensor& pictures) const {
  const int64_t count = pictures.dim(0), length = layers.grid * layers.grid + 1, width = layers.width;
  Tensor x = tokens(session, pictures);
  x = layer_norm(session, layers.norm_before, x, {.add = layers.positions, .rows_per_add = 1, .sum = x});
  session.observe("ln_pre", x);
  for (size_t i = 0; i < layers.blocks.size(); ++i) {
    layers.blocks[i].apply(session, x,
                           {.sequences = count, .head_channels = head_channels, .activation = activation});
    session.observe(fmt::format("block{}", i), x);
  }
  x = layer_norm(session, layers.norm_after, x);
  session.observe("ln_post", x);
  const Tensor pooled = session.empty({count, width});
  session.run(CopyRows{.rows = count,
                       .width = width,
                       .from = x.array(),
                       .from_pitch = length * width,
                       .to = pooled.array(),
                       .to_pitch = width});
  return layers.projection(session, pooled);
}

Tensor ClipImageEncoder::forward(const Tensor& pictures, const Observer& observer) {
  const Layers& layers = network_->layers;
  const int64_t size = picture_size();
  if (pictures.shape().size() != 4 || pictures.shape() != Shape{pictures.dim(0), size, size, layers.channels})
    throw Error(fmt::format("the image embedder takes pictures [N,{},{},{}], not {}", size, size,
                            layers.channels, to_string(pictures.shape())));
  Tensor result = Tensor::empty(network_->backend, {pictures.dim(0), layers.out});
  const auto walk = [&](Session& session) {
    copy(session, network_->embedding(session, in_session_type(session, pictures)), result);
  };
  Session::run(*network_->arena, observer, walk, network_->type.activations);
  return result;
}

std::unique_ptr<PreparedFunction> ClipImageEncoder::prepare(int64_t pictures) {
  const int64_t size = picture_size();
  return std::make_unique<PreparedFunction>(*network_->arena, network_->type.activations,
                                            Shape{pictures, size, size, network_->layers.channels},
                                            [network = network_.get()](Session& session, const Tensor& x) {
                                              return network->embedding(session, x);
                                            });
}

std::vector<float> ClipImageEncoder::embed(std::span<const float> picture, int64_t height, int64_t width) {
  const std::vector<float> prepared = clip_preprocess(picture, height, width, picture_size());
  if (!network_->one) network_->one = prepare(1);
  return network_->one->apply(prepared);
}

}  // namespace eg4d
