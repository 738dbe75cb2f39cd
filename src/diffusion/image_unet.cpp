#include "diffusion/image_unet.h"

#include "diffusion/image_unet_frame.h"

namespace eg4d {
namespace {

using Layers = ImageUNetBuilder::Layers;

}  // namespace

struct ImageUNet::Network : ImageNetwork<Layers> {
  using ImageNetwork::ImageNetwork;
};

ImageUNet::ImageUNet(Backend& backend, const WeightMap& weights, const std::string& prefix,
                     const Options& options) {
  const size_t before = backend.allocated_bytes();
  const auto head_channels = image_head_channels(weights, options.heads);
  network_ = std::make_unique<Network>(
      backend, Loader::load(backend, weights, prefix, options.precision, [&](Loader& loader) {
        return ImageUNetBuilder(loader, 1, head_channels).build();
      }));
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
  return network_->arena.capacity();
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
  const Tensor sinusoids = timestep_sinusoids(network_->backend, timesteps, rows, layers.model_channels);
  Tensor result = Tensor::empty(network_->backend, x.shape());
  Session::run(network_->arena, observer, [&](Session& session) {
    const Tensor embedding = unet_embedding(session, layers, sinusoids, conditioning.label);
    ImageBlocks blocks(session, embedding, conditioning);
    run_unet(session, layers, x, residuals, blocks.residual(), blocks.transformer(), result);
  });
  return result;
}

}  // namespace eg4d
