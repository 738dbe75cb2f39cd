#include "diffusion/video_unet.h"

#include <fmt/format.h>

#include "core/error.h"
#include "diffusion/conditioning.h"
#include "diffusion/unet_frame.h"
#include "diffusion/video_blocks.h"

namespace eg4d {
namespace {

constexpr int64_t kDefaultHeadChannels = 64;
using Layers = UNetLayers<VideoResidualBlock, VideoTransformer>;

// The latents and, behind them, as many channels of the condition.
Layers build(Loader& loader, int64_t head_channels) {
  return UNetBuilder<VideoResidualBlock, VideoTransformer>(loader, 2,
                                                           [=](int64_t, size_t) { return head_channels; })
      .build();
}

int64_t head_channels_of(const WeightMap& weights, int64_t wanted) {
  if (wanted > 0) return wanted;
  return weights.metadata_number("num_head_channels", kDefaultHeadChannels);
}

}  // namespace

struct VideoUNet::Conditioning {
  int64_t frames = 1;
  Tensor label;  // [N,embedding]
  std::vector<TransformerConstants> transformers;
};

struct VideoUNet::Network {
  Network(Backend& b, Layers l) : backend(b), arena(b), layers(std::move(l)) {}

  void body(Session& session, const Tensor& x, const Tensor& sinusoids, const Conditioning& conditioning,
            AttentionInjection* injection, const Tensor& result) const;

  Backend& backend;
  Arena arena;
  Layers layers;
  size_t weight_bytes = 0;
};

VideoUNet::VideoUNet(Backend& backend, const WeightMap& weights, const std::string& prefix,
                     const Options& options) {
  const size_t before = backend.allocated_bytes();
  const int64_t head_channels = head_channels_of(weights, options.head_channels);
  network_ = std::make_unique<Network>(
      backend, Loader::load(backend, weights, prefix, options.precision,
                            [&](Loader& loader) { return build(loader, head_channels); }));
  network_->weight_bytes = backend.allocated_bytes() - before;
}

VideoUNet::~VideoUNet() = default;

void VideoUNet::check(const WeightMap& weights, const std::string& prefix) {
  // How the channels are divided into heads leaves no trace in the shapes.
  Loader::check(weights, prefix, [](Loader& loader) { build(loader, 1); });
}

int64_t VideoUNet::in_channels() const {
  return network_->layers.in;
}
int64_t VideoUNet::out_channels() const {
  return network_->layers.out;
}
int64_t VideoUNet::context_width() const {
  return network_->layers.context;
}
int64_t VideoUNet::vector_width() const {
  return network_->layers.vector;
}
int64_t VideoUNet::size_multiple() const {
  return network_->layers.size_multiple();
}
int64_t VideoUNet::sinusoid_width() const {
  return network_->layers.model_channels;
}
size_t VideoUNet::weight_bytes() const {
  return network_->weight_bytes;
}
size_t VideoUNet::activation_bytes() const {
  return network_->arena.capacity();
}

size_t VideoUNet::injection_layers() const {
  size_t count = 0;
  network_->layers.each_transformer(
      [&](const VideoTransformer& transformer) { count += transformer.depth(); });
  return count;
}

// ---------------------------------------------------------------- conditions

namespace {

Tensor frame_sinusoids(Backend& backend, int64_t frames, int64_t width) {
  std::vector<double> numbers(static_cast<size_t>(frames));
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<double>(i);
  return Tensor::from_host<float>(backend, {frames, width},
                                  sinusoidal_embedding(numbers, static_cast<int>(width)));
}

TransformerConstants kept(const TransformerConstants& constants) {
  TransformerConstants copy;
  for (const Tensor& tensor : constants.spatial) copy.spatial.push_back(tensor.clone());
  for (const Tensor& tensor : constants.temporal) copy.temporal.push_back(tensor.clone());
  copy.frame_position = constants.frame_position.clone();
  return copy;
}

}  // namespace

std::shared_ptr<const VideoUNet::Conditioning> VideoUNet::condition(const Tensor& context,
                                                                    const Tensor& vector, int64_t frames) {
  const Layers& layers = network_->layers;
  const int64_t rows = vector.dim(0);
  if (context.shape() != Shape{rows, 1, layers.context} || vector.shape() != Shape{rows, layers.vector} ||
      frames < 1 || rows % frames != 0)
    throw Error(fmt::format(
        "the network takes contexts [N,1,{}] and vectors [N,{}], N a multiple of {} frames, not {} "
        "and {}",
        layers.context, layers.vector, frames, to_string(context.shape()), to_string(vector.shape())));
  auto conditioning = std::make_shared<Conditioning>();
  conditioning->frames = frames;
  const Tensor tokens = context.reshaped({rows, layers.context});
  std::map<int64_t, Tensor> sinusoids;  // by width
  layers.each_transformer([&](const VideoTransformer& transformer) {
    const int64_t width = transformer.channels();
    if (!sinusoids.count(width)) sinusoids[width] = frame_sinusoids(network_->backend, frames, width);
  });
  Session::run(network_->arena, {}, [&](Session& session) {
    const Tensor label = layers.label_second(session, layers.label_first(session, vector, Activation::silu));
    if (!session.planning()) conditioning->label = label.clone();
    layers.each_transformer([&](const VideoTransformer& transformer) {
      const TransformerConstants constants =
          transformer.constants(session, tokens, sinusoids.at(transformer.channels()));
      if (!session.planning()) conditioning->transformers.push_back(kept(constants));
    });
  });
  return conditioning;
}

// ---------------------------------------------------------------- forward

void VideoUNet::Network::body(Session& session, const Tensor& x, const Tensor& sinusoids,
                              const Conditioning& conditioning, AttentionInjection* injection,
                              const Tensor& result) const {
  const Tensor emb = unet_embedding(session, layers, sinusoids, conditioning.label);
  const int64_t frames = conditioning.frames;
  size_t transformer_index = 0, injection_layer = 0;
  const auto residual = [&](const VideoResidualBlock& block, const Tensor& h) {
    return block(session, h, emb, frames);
  };
  const auto transform = [&](const VideoTransformer& transformer, const Tensor& h) {
    Tensor y = transformer(session, h,
                           {.frames = frames,
                            .constants = &conditioning.transformers[transformer_index++],
                            .injection = injection,
                            .first_injection_layer = injection_layer});
    injection_layer += transformer.depth();
    return y;
  };
  run_unet(session, layers, x, nullptr, residual, transform, result);
}

Tensor VideoUNet::forward(const Tensor& x, std::span<const float> timesteps, const Conditioning& conditioning,
                          AttentionInjection* injection, const Observer& observer) {
  const Layers& layers = network_->layers;
  const int64_t rows = conditioning.label.dim(0);
  check_unet_input(layers, x, rows, timesteps);
  return forward_at(x, timestep_sinusoids(network_->backend, timesteps, rows, layers.model_channels),
                    conditioning, injection, observer);
}

Tensor VideoUNet::forward_at(const Tensor& x, const Tensor& sinusoids, const Conditioning& conditioning,
                             AttentionInjection* injection, const Observer& observer) {
  const Layers& layers = network_->layers;
  const int64_t rows = conditioning.label.dim(0);
  constexpr float any_time = 0;
  check_unet_input(layers, x, rows, {&any_time, 1});
  Tensor result = Tensor::empty(network_->backend, {rows, x.dim(1), x.dim(2), layers.out});
  Session::run(network_->arena, observer, [&](Session& session) {
    network_->body(session, x, sinusoids, conditioning, injection, result);
  });
  return result;
}

}  // namespace eg4d
