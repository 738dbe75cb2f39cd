#include "diffusion/image_unet.h"

#include <fmt/format.h>

#include "core/error.h"
#include "diffusion/image_transformer.h"
#include "diffusion/unet_frame.h"

namespace eg4d {
namespace {

constexpr int64_t kDefaultHeadChannels = 64;
using Builder = UNetBuilder<ResidualBlock, ImageTransformer>;
using Layers = Builder::Layers;

Layers build(Loader& loader, const Builder::HeadChannels& head_channels) {
  return Builder(loader, 1, head_channels).build();
}

Builder::HeadChannels head_channels_of(const WeightMap& weights, const std::vector<int64_t>& heads) {
  if (heads.empty()) {
    const int64_t width = weights.metadata_number("num_head_channels", kDefaultHeadChannels);
    return [width](int64_t, size_t) { return width; };
  }
  return [&heads](int64_t channels, size_t level) -> int64_t {
    const int64_t count = level < heads.size() ? heads[level] : 0;
    if (count <= 0 || channels % count != 0)
      throw Error(fmt::format("config.json gives {} attention heads for level {}, which has {} channels",
                              count, level, channels));
    return channels / count;
  };
}

}  // namespace

struct ImageUNet::Conditioning {
  Tensor label;                              // [N,embedding]
  std::vector<std::vector<Tensor>> context;  // of every transformer, in the order of execution
};

struct ImageUNet::Network {
  Network(Backend& b, Layers l) : backend(b), arena(b), layers(std::move(l)) {}
  Backend& backend;
  Arena arena;
  Layers layers;
  size_t weight_bytes = 0;
};

ImageUNet::ImageUNet(Backend& backend, const WeightMap& weights, const std::string& prefix,
                     const Options& options) {
  const size_t before = backend.allocated_bytes();
  const auto head_channels = head_channels_of(weights, options.heads);
  network_ = std::make_unique<Network>(
      backend, Loader::load(backend, weights, prefix, options.precision,
                            [&](Loader& loader) { return build(loader, head_channels); }));
  network_->weight_bytes = backend.allocated_bytes() - before;
}

ImageUNet::~ImageUNet() = default;

void ImageUNet::check(const WeightMap& weights, const std::string& prefix) {
  Loader::check(weights, prefix, [](Loader& loader) { build(loader, [](int64_t, size_t) { return 1; }); });
}

int64_t ImageUNet::channels() const {
  return network_->layers.in;
}
int64_t ImageUNet::context_width() const {
  return network_->layers.context;
}
int64_t ImageUNet::vector_width() const {
  return network_->layers.vector;
}
int64_t ImageUNet::size_multiple() const {
  return network_->layers.size_multiple();
}
size_t ImageUNet::weight_bytes() const {
  return network_->weight_bytes;
}
size_t ImageUNet::activation_bytes() const {
  return network_->arena.capacity();
}

std::shared_ptr<const ImageUNet::Conditioning> ImageUNet::condition(const Tensor& context,
                                                                    const Tensor& vector) {
  const Layers& layers = network_->layers;
  const Shape& shape = context.shape();
  if (shape.size() != 3 || shape[2] != layers.context || vector.shape() != Shape{shape[0], layers.vector} ||
      context.count() == 0)
    throw Error(fmt::format("the network takes contexts [N,tokens,{}] and vectors [N,{}], not {} and {}",
                            layers.context, layers.vector, to_string(shape), to_string(vector.shape())));
  auto conditioning = std::make_shared<Conditioning>();
  const Tensor tokens = context.reshaped({shape[0] * shape[1], shape[2]});
  Session::run(network_->arena, {}, [&](Session& session) {
    const Tensor label = layers.label_second(session, layers.label_first(session, vector, Activation::silu));
    if (!session.planning()) conditioning->label = label.clone();
    layers.each_transformer([&](const ImageTransformer& transformer) {
      const std::vector<Tensor> keys = transformer.context_keys(session, tokens);
      if (session.planning()) return;
      std::vector<Tensor>& kept = conditioning->context.emplace_back();
      for (const Tensor& one : keys) kept.push_back(one.clone());
    });
  });
  return conditioning;
}

Tensor ImageUNet::forward(const Tensor& x, std::span<const float> timesteps, const Conditioning& conditioning,
                          const Observer& observer) {
  const Layers& layers = network_->layers;
  const int64_t rows = conditioning.label.dim(0);
  check_unet_input(layers, x, rows, timesteps);
  const Tensor sinusoids = timestep_sinusoids(network_->backend, timesteps, rows, layers.model_channels);
  Tensor result = Tensor::empty(network_->backend, x.shape());
  Session::run(network_->arena, observer, [&](Session& session) {
    const Tensor emb = unet_embedding(session, layers, sinusoids, conditioning.label);
    size_t index = 0;
    run_unet(
        session, layers, x,
        [&](const ResidualBlock& block, const Tensor& h) { return block(session, h, emb); },
        [&](const ImageTransformer& transformer, const Tensor& h) {
          return transformer(session, h, conditioning.context[index++]);
        },
        result);
  });
  return result;
}

}  // namespace eg4d
