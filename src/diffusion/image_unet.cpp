#include "diffusion/image_unet.h"

#include "diffusion/image_unet_frame.h"
#include "nn/prepared_call.h"

namespace eg4d {
namespace {

using Layers = ImageUNetBuilder::Layers;

}  // namespace

struct ImageUNet::Network : ImageNetwork<Layers> {
  using ImageNetwork::ImageNetwork;

  struct Operands {
    Tensor input, sinusoids, prediction;
    const UNetResiduals* residuals = nullptr;
  };
  void walk(Session& session, const Operands& operands, const ImageConditioning& conditioning) const {
    const Tensor embedding = unet_embedding(session, layers, operands.sinusoids, conditioning.label);
    ImageBlocks blocks(session, embedding, conditioning);
    run_unet(session, layers, operands.input, operands.residuals, blocks.residual(), blocks.transformer(),
             operands.prediction);
  }
};

ImageUNet::ImageUNet(Backend& backend, const WeightMap& weights, const std::string& prefix,
                     const Options& options) {
  const size_t before = backend.allocated_bytes();
  const auto head_channels = image_head_channels(weights, options.heads);
  network_ = std::make_unique<Network>(
      backend,
      Loader::load(backend, weights, prefix, options.type,
                   [&](Loader& loader) { return ImageUNetBuilder(loader, 1, head_channels).build(); }),
      options);
  network_->weight_bytes = backend.allocated_bytes() - before;
}

ImageUNet::~ImageUNet() = default;

ImageUNet::Form ImageUNet::check(const WeightMap& weights, const std::string& prefix) {
  Form form;
  Loader::check(weights, prefix, [&](Loader& loader) {
    const Layers layers = ImageUNetBuilder(loader, 1, [](int64_t, size_t) { return 1; }).build();
    form = {layers.in, layers.context, layers.vector, layers.skips};
  });
  return form;
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
  return network_->arena->capacity();
}

std::shared_ptr<const ImageConditioning> ImageUNet::condition(const Tensor& context, const Tensor& vector) {
  return network_->condition(context, vector);
}

Tensor ImageUNet::forward(const Tensor& x, std::span<const float> timesteps,
                          const ImageConditioning& conditioning, const UNetResiduals* residuals,
                          const Observer& observer) {
  const Layers& layers = network_->layers;
  const int64_t rows = conditioning.label.dim(0);
  check_unet_input(layers, x, rows, timesteps);
  const Network::Operands operands{
      .input = x,
      .sinusoids = timestep_sinusoids(network_->backend, timesteps, rows, layers.model_channels),
      .prediction = Tensor::empty(network_->backend, x.shape()),
      .residuals = residuals};
  Session::run(
      *network_->arena, observer, [&](Session& session) { network_->walk(session, operands, conditioning); },
      network_->type.activations);
  return operands.prediction;
}

// ---------------------------------------------------------------- a prepared call

struct ImageUNet::Call::State {
  Network::Operands operands;
  std::shared_ptr<const ImageConditioning> conditioning;
  std::unique_ptr<PreparedCall> call;
};

ImageUNet::Call::Call(ImageUNet& network, int64_t height, int64_t width,
                      std::shared_ptr<const ImageConditioning> conditioning, const Shared& shared)
    : state_(std::make_unique<State>()) {
  const Network& own = *network.network_;
  check_unet_size(own.layers, height, width);
  const int64_t rows = conditioning->label.dim(0);
  const Shape shape{rows, height, width, own.layers.in};
  state_->operands = {
      .input =
          shared.input.defined() ? shared.input : Tensor::empty(own.backend, shape, own.type.activations),
      .sinusoids = shared.sinusoids.defined() ? shared.sinusoids
                                              : Tensor::empty(own.backend, {rows, own.layers.model_channels}),
      .prediction = Tensor::empty(own.backend, shape),
      .residuals = shared.residuals};
  state_->conditioning = std::move(conditioning);
  state_->call = std::make_unique<PreparedCall>(*own.arena, own.type.activations,
                                                [&own, state = state_.get()](Session& session) {
                                                  own.walk(session, state->operands, *state->conditioning);
                                                });
}

ImageUNet::Call::~Call() = default;

const Tensor& ImageUNet::Call::input() const {
  return state_->operands.input;
}
const Tensor& ImageUNet::Call::sinusoids() const {
  return state_->operands.sinusoids;
}
const Tensor& ImageUNet::Call::prediction() const {
  return state_->operands.prediction;
}
void ImageUNet::Call::set_timestep(float timestep) {
  write_sinusoids(state_->operands.sinusoids, {&timestep, 1});
}
void ImageUNet::Call::run() {
  state_->call->run();
}

}  // namespace eg4d
