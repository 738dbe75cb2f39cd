#include "diffusion/image_unet_frame.h"

namespace eg4d {
namespace {

constexpr int64_t kDefaultHeadChannels = 64;

}  // namespace

ImageUNetBuilder::HeadChannels image_head_channels(const WeightMap& weights,
                                                   const std::vector<int64_t>& heads) {
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

std::shared_ptr<const ImageConditioning> condition_image_network(
    Arena& arena, const ImageUNetBuilder::Encoder& layers,
    const std::vector<const ImageTransformer*>& transformers, const Tensor& context, const Tensor& vector) {
  const Shape& shape = context.shape();
  if (shape.size() != 3 || (layers.context != 0 && shape[2] != layers.context) ||
      vector.shape() != Shape{shape[0], layers.vector} || context.count() == 0)
    throw Error(fmt::format("the network takes contexts [N,tokens,{}] and vectors [N,{}], not {} and {}",
                            layers.context, layers.vector, to_string(shape), to_string(vector.shape())));
  auto conditioning = std::make_shared<ImageConditioning>();
  const Tensor tokens = context.reshaped({shape[0] * shape[1], shape[2]});
  Session::run(arena, {}, [&](Session& session) {
    const Tensor label = layers.label_second(session, layers.label_first(session, vector, Activation::silu));
    if (!session.planning()) conditioning->label = label.clone();
    for (const ImageTransformer* transformer : transformers) {
      const std::vector<Tensor> keys = transformer->context_keys(session, tokens);
      if (session.planning()) continue;
      std::vector<Tensor>& kept = conditioning->context.emplace_back();
      for (const Tensor& one : keys) kept.push_back(one.clone());
    }
  });
  return conditioning;
}

}  // namespace eg4d
