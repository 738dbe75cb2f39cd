// The decoder, whole and in pieces.

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "diffusion/vae_parts.h"

namespace eg4d {
namespace {

struct DecoderLayers {
  bool temporal = false;
  ConvolutionLayer in, out, out_over_frames;
  std::optional<AutoencoderMiddle> middle;
  std::vector<AutoencoderLevel> levels;  // from the smallest
  NormLayer norm;
};

DecoderLayers build_decoder(Loader& loader) {
  DecoderLayers layers;
  layers.temporal = loader.has_below("mid.block_1.time_stack") || loader.has_below("conv_out.time_mix_conv");
  int64_t channels =
      loader.extent({{"conv_in.bias", 0}, {"conv_in.weight", 0}, {"mid.block_1.norm1.weight", 0}});
  layers.in = loader.convolution("conv_in", kLatents, channels, 3);
  layers.middle.emplace(loader.at("mid"), channels, layers.temporal);
  for (int64_t i = loader.children("up") - 1; i >= 0; --i) {
    const Loader part = loader.at(fmt::format("up.{}", i));
    AutoencoderLevel level;
    for (int64_t j = 0, blocks = part.children("block"); j < blocks; ++j) {
      const Loader block = part.at(fmt::format("block.{}", j));
      const int64_t out = AutoencoderBlock::channels_of(block);
      level.blocks.emplace_back(block, channels, out, layers.temporal);
      channels = out;
    }
    if (i > 0) level.resample = part.convolution("upsample.conv", channels, channels, 3);
    layers.levels.push_back(std::move(level));
  }
  layers.norm = loader.group_norm("norm_out", channels, kAutoencoderEpsilon);
  layers.out = loader.convolution("conv_out", channels, kColors, 3);
  if (layers.temporal)
    layers.out_over_frames = loader.frame_convolution("conv_out.time_mix_conv", kColors, kColors);
  return layers;
}

}  // namespace

struct AutoencoderDecoder::Network {
  Network(Backend& backend, DecoderLayers l, const AutoencoderOptions& options)
      : arena(arena_of(backend, options)), layers(std::move(l)), type(options.type) {}
  // What layers see at a time: so many frames, and where they go over the frames, one of so many strips of
  // the pixels.
  struct Pieces {
    int64_t frames = 0, strips = 1;
  };
  Pieces pieces_for(const Shape& latents, float latent_scale) const;
  Tensor body(Session& session, const Tensor& latents, float latent_scale, const Pieces& pieces) const;
  Tensor enter(Session& session, const Tensor& latents, float latent_scale) const;
  Tensor whole(Session& session, const Tensor& latents, float latent_scale) const;
  Tensor temporal_in_pieces(Session& session, const Tensor& latents, float latent_scale,
                            const Pieces& pieces) const;
  Tensor leave(Session& session, Tensor h) const;  // changes it; without what goes over the frames
  const std::shared_ptr<Arena> arena;
  DecoderLayers layers;
  const NetworkType type;
  std::optional<LinearLayer> post_quant;
};

AutoencoderDecoder::AutoencoderDecoder(Backend& backend, const WeightMap& weights, const std::string& prefix,
                                       const AutoencoderOptions& options)
    : network_(std::make_unique<Network>(
          backend, Loader::load(backend, weights, prefix + "decoder.", options.type, build_decoder),
          options)) {
  network_->post_quant =
      pointwise_layer(&backend, weights, prefix + "post_quant_conv", options.type, network_->layers.in.in);
}

AutoencoderDecoder::~AutoencoderDecoder() = default;

void AutoencoderDecoder::check(const WeightMap& weights, const std::string& prefix) {
  int64_t channels = 0;
  Loader::check(weights, prefix + "decoder.",
                [&](Loader& loader) { channels = build_decoder(loader).in.in; });
  pointwise_layer(nullptr, weights, prefix + "post_quant_conv", {}, channels);
}

bool AutoencoderDecoder::temporal() const {
  return network_->layers.temporal;
}
int64_t AutoencoderDecoder::size_multiple() const {
  return int64_t{1} << (network_->layers.levels.size() - 1);
}
size_t AutoencoderDecoder::activation_bytes() const {
  return network_->arena->capacity();
}

// To the middle block's input.
Tensor AutoencoderDecoder::Network::enter(Session& session, const Tensor& latents, float latent_scale) const {
  Tensor h = session.empty(latents.shape());
  session.run(
      ScaledSum{.count = h.count(), .a = latents.array(), .a_scale = 1 / latent_scale, .y = h.array()});
  if (post_quant) h = (*post_quant)(session, h);
  h = layers.in(session, h);
  session.observe("conv_in", h);
  return h;
}

Tensor AutoencoderDecoder::Network::leave(Session& session, Tensor h) const {
  group_norm(session, layers.norm, h, h, {});
  session.observe("norm_out", h);
  session.run(Activate{.count = h.count(), .activation = Activation::silu, .x = h.array(), .y = h.array()});
  return layers.out(session, h);
}

// latents: the frames of one video.
Tensor AutoencoderDecoder::Network::whole(Session& session, const Tensor& latents, float latent_scale) const {
  const int64_t frames = latents.dim(0);
  Tensor h = enter(session, latents, latent_scale);
  h = (*layers.middle)(session, h, frames);
  for (const AutoencoderLevel& level : layers.levels) {
    for (const AutoencoderBlock& block : level.blocks) h = block(session, h, frames);
    if (!level.resample) continue;
    h = upsample(session, h);
    h = (*level.resample)(session, h);
  }
  h = leave(session, std::move(h));
  return layers.temporal ? layers.out_over_frames.over_frames(session, h, frames) : h;
}

namespace {

// work(first frame, number of frames)
template <class Work>
void in_pieces(int64_t frames, int64_t piece, const Work& work) {
  for (int64_t begin = 0; begin < frames; begin += piece) work(begin, std::min(piece, frames - begin));
}

}  // namespace

// All frames are whole in two arrays alone, of the largest level's size: what a block of pixels and a block
// of frames make of one lies in the other, or in its place. The rest is made of some frames, or a strip, at a
// time: more of them where they are smaller.
Tensor AutoencoderDecoder::Network::temporal_in_pieces(Session& session, const Tensor& latents,
                                                       float latent_scale, const Pieces& pieces) const {
  const int64_t frames = latents.dim(0);
  Tensor h = session.empty({frames, latents.dim(1), latents.dim(2), layers.in.out});
  copy(session, (*layers.middle)(session, enter(session, latents, latent_scale), frames), h);
  int64_t largest = 0, pixels = frames * latents.dim(1) * latents.dim(2);
  for (const AutoencoderLevel& level : layers.levels) {
    for (const AutoencoderBlock& block : level.blocks)
      largest = std::max(largest, pixels * block.out_channels());
    if (level.resample) pixels *= 4;
  }
  const Tensor both[] = {session.empty({largest}), session.empty({largest})};
  size_t there = 1;                            // which of them h is in, or may be taken to be in
  bool in_place = false;                       // is it?
  const ConvolutionLayer* resample = nullptr;  // still to be done to h
  for (const AutoencoderLevel& level : layers.levels) {
    for (const AutoencoderBlock& block : level.blocks) {
      const int64_t factor = resample ? 2 : 1;
      const bool stays = in_place && !resample && block.keeps_channels();
      if (!stays) there = 1 - there;
      const Tensor y =
          stays ? h
                : both[there].part(0, {frames, factor * h.dim(1), factor * h.dim(2), block.out_channels()});
      const int64_t share = std::max<int64_t>(largest / y.count(), 1);
      in_pieces(frames, std::min(share * pieces.frames, frames), [&](int64_t begin, int64_t count) {
        Tensor x = h.rows(begin, count);
        if (resample) x = upsample(session, x);
        if (resample) x = (*resample)(session, x);
        block.over_pixels(session, x, y.rows(begin, count));
      });
      h = y;
      in_place = true;
      resample = nullptr;
      block.over_frames(session, h, frames,
                        {both[1 - there].part(0, h.shape()), std::max<int64_t>(pieces.strips / share, 1)});
    }
    if (level.resample) resample = &*level.resample;
  }
  const Tensor colors = session.empty({frames, h.dim(1), h.dim(2), layers.out.out});
  in_pieces(frames, pieces.frames, [&](int64_t begin, int64_t count) {
    copy(session, leave(session, h.rows(begin, count)), colors.rows(begin, count));
  });
  return layers.out_over_frames.over_frames(session, colors, frames);
}

Tensor AutoencoderDecoder::Network::body(Session& session, const Tensor& latents, float latent_scale,
                                         const Pieces& pieces) const {
  const int64_t frames = latents.dim(0), multiple = int64_t{1} << (layers.levels.size() - 1);
  if (pieces.frames >= frames && pieces.strips == 1) return whole(session, latents, latent_scale);
  if (layers.temporal) return temporal_in_pieces(session, latents, latent_scale, pieces);
  Tensor colors =
      session.empty({frames, latents.dim(1) * multiple, latents.dim(2) * multiple, layers.out.out});
  in_pieces(frames, pieces.frames, [&](int64_t begin, int64_t count) {
    copy(session, whole(session, latents.rows(begin, count), latent_scale), colors.rows(begin, count));
  });
  return colors;
}

// Pictures by themselves: always so many, since more are no faster, and other numbers would give other bits.
// A video: as large as fits into the device's memory. The smallest where none fits.
AutoencoderDecoder::Network::Pieces AutoencoderDecoder::Network::pieces_for(const Shape& latents,
                                                                            float latent_scale) const {
  // Of operations, at most: beside the result of the last layers, what libraries work in.
  constexpr size_t kScratch = size_t{320} << 20, kLeastScratch = 2 * kScratch;
  const int64_t frames = latents.at(0);
  const std::vector<Pieces> ways = layers.temporal
                                       ? std::vector<Pieces>{{frames, 1}, {4, 8}, {2, 16}, {1, 32}}
                                       : std::vector<Pieces>{{3, 1}, {2, 1}, {1, 1}};
  const size_t available = arena->backend().memory_use().available;
  if (available == SIZE_MAX) return ways.front();
  const size_t pixels = static_cast<size_t>(latents.at(1) * latents.at(2)) << 2 * (layers.levels.size() - 1);
  const size_t result = static_cast<size_t>(frames) * pixels * kColors * sizeof(float);
  const size_t last_layer = pixels * static_cast<size_t>(layers.out.in) * size_of(type.activations);
  for (const Pieces& pieces : ways) {
    const auto walk = [&](Session& session) { body(session, session.empty(latents), latent_scale, pieces); };
    const size_t scratch =
        std::max(kLeastScratch, kScratch + static_cast<size_t>(pieces.frames) * last_layer);
    if (Session::planned_bytes(arena->backend(), walk, type.activations) + scratch + result <=
        available + arena->capacity())
      return pieces;
  }
  return ways.back();
}

Tensor AutoencoderDecoder::decode(const Tensor& latents, int64_t frames, float latent_scale,
                                  const Observer& observer) {
  const DecoderLayers& layers = network_->layers;
  check_pictures(latents.shape(), layers.in.in, 1);
  const int64_t pictures = latents.dim(0), multiple = size_multiple();
  Tensor result = Tensor::empty(
      latents.backend(), {pictures, latents.dim(1) * multiple, latents.dim(2) * multiple, layers.out.out});
  const int64_t piece = std::clamp<int64_t>(frames, 1, pictures);
  for (int64_t begin = 0; begin < pictures; begin += piece) {
    const int64_t count = std::min(piece, pictures - begin);
    const auto walk = [&](Session& session) {
      const Tensor part = in_session_type(session, latents.rows(begin, count));
      copy(session, network_->whole(session, part, latent_scale), result.rows(begin, count));
    };
    Session::run(*network_->arena, observer, walk, network_->type.activations);
  }
  return result;
}

std::unique_ptr<PreparedFunction> AutoencoderDecoder::prepare(const Shape& latents, float latent_scale) {
  check_pictures(latents, network_->layers.in.in, 1);
  const Network::Pieces pieces = network_->pieces_for(latents, latent_scale);
  return std::make_unique<PreparedFunction>(
      *network_->arena, network_->type.activations, latents,
      [network = network_.get(), latent_scale, pieces](Session& session, const Tensor& x) {
        return network->body(session, x, latent_scale, pieces);
      });
}

}  // namespace eg4d
