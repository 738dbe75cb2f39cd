#pragma once

// What SDXL's UNet and the ControlNets for it share.

#include <memory>
#include <vector>

#include "diffusion/image_transformer.h"
#include "diffusion/image_unet.h"
#include "diffusion/unet_frame.h"

namespace eg4d {

using ImageUNetBuilder = UNetBuilder<ResidualBlock, ImageTransformer>;

// What such a network computes from the conditions alone, once for many calls.
struct ImageConditioning {
  Tensor label;                              // [N,embedding]
  std::vector<std::vector<Tensor>> context;  // of every transformer, in the order of execution
};

// heads: per level, from the latents' own size down; empty: of so many channels each as the file's metadata
// "num_head_channels" tell, else 64. It must outlive the result.
ImageUNetBuilder::HeadChannels image_head_channels(const WeightMap& weights,
                                                   const std::vector<int64_t>& heads);

// context: [N,tokens,context_width], vector: [N,vector_width]. `transformers`: all of the network's.
std::shared_ptr<const ImageConditioning> condition_image_network(
    Arena& arena, DType type, const ImageUNetBuilder::Encoder& layers,
    const std::vector<const ImageTransformer*>& transformers, const Tensor& context, const Tensor& vector);

template <class Layers>
std::vector<const ImageTransformer*> transformers_of(const Layers& layers) {
  std::vector<const ImageTransformer*> transformers;
  layers.each_transformer([&](const ImageTransformer& transformer) { transformers.push_back(&transformer); });
  return transformers;
}

// A loaded network: its layers and where its activations live.
template <class Layers>
struct ImageNetwork {
  ImageNetwork(Backend& b, Layers l, const ImageUNet::Options& options)
      : backend(b),
        arena(options.arena ? options.arena : std::make_shared<Arena>(b)),
        layers(std::move(l)),
        type(options.type) {}
  std::shared_ptr<const ImageConditioning> condition(const Tensor& context, const Tensor& vector) {
    return condition_image_network(*arena, type.activations, layers, transformers_of(layers), context,
                                   vector);
  }
  Backend& backend;
  const std::shared_ptr<Arena> arena;
  Layers layers;
  const NetworkType type;
  size_t weight_bytes = 0;
};

// How run_unet and run_unet_encoder apply the blocks in one pass. All must outlive it.
class ImageBlocks {
 public:
  ImageBlocks(Session& session, const Tensor& embedding, const ImageConditioning& conditioning)
      : session_(session), embedding_(embedding), conditioning_(conditioning) {}
  auto residual() const {
    return [this](const ResidualBlock& block, const Tensor& h) { return block(session_, h, embedding_); };
  }
  auto transformer() {
    return [this](const ImageTransformer& transformer, const Tensor& h) {
      return transformer(session_, h, conditioning_.context.at(next_++));
    };
  }

 private:
  Session& session_;
  const Tensor& embedding_;
  const ImageConditioning& conditioning_;
  size_t next_ = 0;  // transformer
};

}  // namespace eg4d
