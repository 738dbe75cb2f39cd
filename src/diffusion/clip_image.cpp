#include "diffusion/clip_image.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "diffusion/clip_blocks.h"

namespace eg4d {
namespace {

constexpr int64_t kDefaultHeadChannels = 80;

struct Layers {
  int64_t width = 0, out = 0, patch = 0, channels = 0, grid = 0;
  LinearLayer patch_embedding, projection;
  Tensor class_token, positions;  // [1,width], [grid²+1,width]
  NormLayer norm_before, norm_after;
  std::vector<ClipBlock> blocks;
};

Layers build(Loader& loader) {
  Layers layers;
  layers.width = loader.extent({{"class_embedding", 0},
                                {"ln_pre.weight", 0},
                                {"ln_post.weight", 0},
                                {"conv1.weight", 0},
                                {"proj", 0}});
  layers.out = loader.extent({{"proj", 1}});
  layers.channels = loader.extent({{"conv1.weight", 1}});
  layers.patch = loader.extent({{"conv1.weight", 2}, {"conv1.weight", 3}});
  const int64_t tokens = loader.extent({{"positional_embedding", 0}});
  layers.grid = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(tokens - 1))));
  if (layers.grid < 1 || layers.grid * layers.grid + 1 != tokens)
    loader.complain(fmt::format("'positional_embedding' has {} rows, expected a square and one", tokens));

  const int64_t width = layers.width, area = layers.patch * layers.patch;
  const std::vector<float> patches =
      loader.values("conv1.weight", {width, layers.channels, layers.patch, layers.patch});
  layers.patch_embedding =
      packed_linear(loader, area * layers.channels, width, swap_last_axes(patches, layers.channels, area));
  const std::vector<float> projection = loader.values("proj", {width, layers.out});
  layers.projection = packed_linear(loader, width, layers.out, swap_last_axes(projection, width, layers.out));
  const std::vector<float> class_token = loader.values("class_embedding", {width});
  const std::vector<float> positions = loader.values("positional_embedding", {tokens, width});
  if (!loader.checking()) {
    layers.class_token = Tensor::from_host<float>(loader.backend(), {1, width}, class_token);
    layers.positions = Tensor::from_host<float>(loader.backend(), {tokens, width}, positions);
  }
  layers.norm_before = loader.norm("ln_pre", width, kClipNormEpsilon);
  layers.norm_after = loader.norm("ln_post", width, kClipNormEpsilon);
  layers.blocks = clip_blocks(loader, width, ClipNames::open_clip);
  return layers;
}

int64_t head_channels_of(const WeightMap& weights, int64_t wanted) {
  if (wanted > 0) return wanted;
  return weights.metadata_number("clip_head_channels", kDefaultHeadChannels);
}

}  // namespace

struct ClipImageEncoder::Network {
  Network(Backend& b, Layers l, int64_t head)
      : backend(b), arena(b), layers(std::move(l)), head_channels(head) {}
  Tensor tokens(Session& session, const Tensor& pictures) const;

  Backend& backend;
  Arena arena;
  Layers layers;
  int64_t head_channels;
};

ClipImageEncoder::ClipImageEncoder(Backend& backend, const WeightMap& weights, const std::string& prefix,
                                   const Options& options) {
  const int64_t head = head_channels_of(weights, options.head_channels);
  network_ = std::make_unique<Network>(
      backend, Loader::load(backend, weights, prefix, options.precision, build), head);
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
  session.ops().patches({.batch = count,
                         .height = pictures.dim(1),
                         .width = pictures.dim(2),
                         .channels = layers.channels,
                         .patch = layers.patch,
                         .x = pictures.data(),
                         .y = cut.data()});
  const Tensor embedded =
      layers.patch_embedding(session, cut).reshaped({count, layers.grid, layers.grid, width});
  session.observe("patch_embed", embedded);
  Tensor all = session.empty({count * (patches + 1), width});
  session.ops().copy_rows({.rows = count,
                           .width = width,
                           .from = layers.class_token.data(),
                           .from_pitch = 0,
                           .to = all.data(),
                           .to_pitch = (patches + 1) * width});
  session.ops().copy_rows({.rows = count,
                           .width = patches * width,
                           .from = embedded.data(),
                           .from_pitch = patches * width,
                           .to = all.data() + width,
                           .to_pitch = (patches + 1) * width});
  return all;
}

Tensor ClipImageEncoder::forward(const Tensor& pictures, const Observer& observer) {
  const Layers& layers = network_->layers;
  const int64_t size = picture_size(), width = layers.width;
  if (pictures.shape().size() != 4 || pictures.shape() != Shape{pictures.dim(0), size, size, layers.channels})
    throw Error(fmt::format("the image embedder takes pictures [N,{},{},{}], not {}", size, size,
                            layers.channels, to_string(pictures.shape())));
  const int64_t count = pictures.dim(0), tokens = layers.grid * layers.grid + 1;
  Tensor result = Tensor::empty(network_->backend, {count, layers.out});
  Session::run(network_->arena, observer, [&](Session& session) {
    Tensor x = network_->tokens(session, pictures);
    x = layer_norm(session, layers.norm_before, x, {.add = layers.positions, .rows_per_add = 1, .sum = x});
    session.observe("ln_pre", x);
    for (size_t i = 0; i < layers.blocks.size(); ++i) {
      layers.blocks[i].apply(session, x, {.sequences = count, .head_channels = network_->head_channels});
      session.observe(fmt::format("block{}", i), x);
    }
    x = layer_norm(session, layers.norm_after, x);
    session.observe("ln_post", x);
    const Tensor pooled = session.empty({count, width});
    session.ops().copy_rows({.rows = count,
                             .width = width,
                             .from = x.data(),
                             .from_pitch = tokens * width,
                             .to = pooled.data(),
                             .to_pitch = width});
    session.ops().linear(
        {.rows = count, .x = pooled.data(), .weight = layers.projection.weight.get(), .y = result.data()});
  });
  return result;
}

std::vector<float> ClipImageEncoder::embed(std::span<const float> picture, int64_t height, int64_t width) {
  const int64_t size = picture_size();
  const std::vector<float> prepared = clip_preprocess(picture, height, width, size);
  return forward(Tensor::from_host<float>(network_->backend, {1, size, size, 3}, prepared)).to_host();
}

}  // namespace eg4d
