#include "diffusion/vae.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "diffusion/vae_parts.h"

namespace eg4d {
namespace {

struct EncoderLayers {
  ConvolutionLayer in, out;
  std::vector<AutoencoderLevel> levels;
  std::optional<AutoencoderMiddle> middle;
  NormLayer norm;
};

EncoderLayers build_encoder(Loader& loader) {
  EncoderLayers layers;
  int64_t channels =
      loader.extent({{"conv_in.bias", 0}, {"conv_in.weight", 0}, {"down.0.block.0.norm1.weight", 0}});
  layers.in = loader.convolution("conv_in", kColors, channels, 3);
  const int64_t levels = loader.children("down");
  for (int64_t i = 0; i < levels; ++i) {
    const Loader part = loader.at(fmt::format("down.{}", i));
    AutoencoderLevel level;
    for (int64_t j = 0, blocks = part.children("block"); j < blocks; ++j) {
      const Loader block = part.at(fmt::format("block.{}", j));
      const int64_t out = AutoencoderBlock::channels_of(block);
      level.blocks.emplace_back(block, channels, out, false);
      channels = out;
    }
    if (i + 1 < levels) level.resample = part.convolution("downsample.conv", channels, channels, 3);
    layers.levels.push_back(std::move(level));
  }
  layers.middle.emplace(loader.at("mid"), channels, false);
  layers.norm = loader.group_norm("norm_out", channels, kAutoencoderEpsilon);
  layers.out = loader.convolution("conv_out", channels, 2 * kLatents, 3);
  return layers;
}

}  // namespace

struct AutoencoderEncoder::Network {
  Network(Backend& backend, EncoderLayers l, const AutoencoderOptions& options)
      : arena(arena_of(backend, options)), layers(std::move(l)), type(options.type) {}

  // What the way back needs.
  struct Passed {
    std::vector<AutoencoderBlock::Passed> blocks;  // of all levels
    std::vector<Shape> levels;                     // shapes of their results
    AutoencoderMiddle::Passed middle;
    Tensor before_norm;
  };
  Tensor forward(Session& session, const Tensor& pictures, Passed* passed) const;
  void backward(Session& session, const Passed& passed, const Tensor& d_moments,
                const Tensor& d_pictures) const;

  const std::shared_ptr<Arena> arena;
  EncoderLayers layers;
  const NetworkType type;
  std::optional<LinearLayer> quant;
};

AutoencoderEncoder::AutoencoderEncoder(Backend& backend, const WeightMap& weights, const std::string& prefix,
                                       const AutoencoderOptions& options)
    : network_(std::make_unique<Network>(
          backend, Loader::load(backend, weights, prefix + "encoder.", options.type, build_encoder),
          options)) {
  network_->quant =
      pointwise_layer(&backend, weights, prefix + "quant_conv", options.type, network_->layers.out.out);
}

AutoencoderEncoder::~AutoencoderEncoder() = default;

void AutoencoderEncoder::check(const WeightMap& weights, const std::string& prefix) {
  int64_t channels = 0;
  Loader::check(weights, prefix + "encoder.",
                [&](Loader& loader) { channels = build_encoder(loader).out.out; });
  pointwise_layer(nullptr, weights, prefix + "quant_conv", {}, channels);
}

int64_t AutoencoderEncoder::size_multiple() const {
  return int64_t{1} << (network_->layers.levels.size() - 1);
}
size_t AutoencoderEncoder::activation_bytes() const {
  return network_->arena->capacity();
}

Tensor AutoencoderEncoder::Network::forward(Session& session, const Tensor& pictures, Passed* passed) const {
  Tensor h = layers.in(session, pictures);
  for (const AutoencoderLevel& level : layers.levels) {
    for (const AutoencoderBlock& block : level.blocks)
      h = block(session, h, 1, passed ? &passed->blocks.emplace_back() : nullptr);
    if (passed) passed->levels.push_back(h.shape());
    if (level.resample) h = level.resample->halve(session, h, ConvolutionLayer::Padding::right_and_bottom);
  }
  h = (*layers.middle)(session, h, 1, passed ? &passed->middle : nullptr);
  const Tensor before = h;
  if (passed) {
    passed->before_norm = before;
    h = session.empty(before.shape());
  }
  group_norm(session, layers.norm, before, h, {.activation = Activation::silu});
  h = layers.out(session, h);
  return quant ? (*quant)(session, h) : h;
}

void AutoencoderEncoder::Network::backward(Session& session, const Passed& passed, const Tensor& d_moments,
                                           const Tensor& d_pictures) const {
  Tensor d_h = d_moments;
  if (quant) {
    d_h = session.zeros(d_moments.shape());
    quant->backward(session, d_moments, d_h);
  }
  {
    const Tensor d_normed = session.zeros(passed.before_norm.shape());
    layers.out.backward(session, d_h, d_normed);
    d_h = session.zeros(d_normed.shape());
    group_norm_backward(session, layers.norm, passed.before_norm, d_normed, d_h,
                        {.activation = Activation::silu});
  }
  d_h = layers.middle->backward(session, passed.middle, d_h);
  size_t block = passed.blocks.size();
  for (size_t i = layers.levels.size(); i-- > 0;) {
    const AutoencoderLevel& level = layers.levels[i];
    if (level.resample) {
      const Tensor d_below = session.zeros(passed.levels[i]);
      level.resample->halve_backward(session, d_h, d_below, ConvolutionLayer::Padding::right_and_bottom);
      d_h = d_below;
    }
    for (size_t j = level.blocks.size(); j-- > 0;)
      d_h = level.blocks[j].backward(session, passed.blocks[--block], d_h);
  }
  layers.in.backward(session, d_h, d_pictures);
}

namespace {

// [N,h,w,2·4] ↔ the first half of its channels, [N,h,w,4].
CopyRows copy_of_means(const Tensor& from, const Tensor& to) {
  const int64_t width = std::min(from.dim(3), to.dim(3));
  return {.rows = from.count() / from.dim(3),
          .width = width,
          .from = from.array(),
          .from_pitch = from.dim(3),
          .to = to.array(),
          .to_pitch = to.dim(3)};
}

}  // namespace

Tensor AutoencoderEncoder::moments(const Tensor& pictures) {
  const EncoderLayers& layers = network_->layers;
  const int64_t multiple = size_multiple();
  check_pictures(pictures.shape(), layers.in.in, multiple);
  Tensor result = Tensor::empty(pictures.backend(), {pictures.dim(0), pictures.dim(1) / multiple,
                                                     pictures.dim(2) / multiple, layers.out.out});
  const auto walk = [&](Session& session) {
    copy(session, network_->forward(session, in_session_type(session, pictures), nullptr), result);
  };
  Session::run(*network_->arena, {}, walk, network_->type.activations);
  return result;
}

std::unique_ptr<PreparedFunction> AutoencoderEncoder::prepare_moments(const Shape& pictures) {
  check_pictures(pictures, network_->layers.in.in, size_multiple());
  return std::make_unique<PreparedFunction>(*network_->arena, network_->type.activations, pictures,
                                            [network = network_.get()](Session& session, const Tensor& x) {
                                              return network->forward(session, x, nullptr);
                                            });
}

Tensor AutoencoderEncoder::mode(const Tensor& pictures) {
  const Tensor both = moments(pictures);
  Tensor mean = Tensor::empty(pictures.backend(), {both.dim(0), both.dim(1), both.dim(2), kLatents});
  pictures.backend().run(copy_of_means(both, mean));
  return mean;
}

void AutoencoderEncoder::differentiate(const Tensor& pictures, const ModeGradient& gradient,
                                       const Tensor& d_pictures) {
  check_pictures(pictures.shape(), network_->layers.in.in, size_multiple());
  if (network_->type.activations != DType::f32)
    throw Error(fmt::format("gradients go through the autoencoder in f32 only, not in {}",
                            name_of(network_->type.activations)));
  Session::run(*network_->arena, {}, [&](Session& session) {
    Network::Passed passed;
    const Tensor moments = network_->forward(session, pictures, &passed);
    const Tensor mode = session.empty({moments.dim(0), moments.dim(1), moments.dim(2), kLatents});
    session.run(copy_of_means(moments, mode));
    const Tensor d_moments = session.zeros(moments.shape());
    if (!session.planning()) session.run(copy_of_means(gradient(mode), d_moments));
    network_->backward(session, passed, d_moments, d_pictures);
  });
}

}  // namespace eg4d
