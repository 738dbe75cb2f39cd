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
    Arena& arena, DType type, const ImageUNetBuilder::Encoder& layers,
    const std::vector<const ImageTransformer*>& transformers, const Tensor& context, const Tensor& vector) {
  const Shape& shape = context.shape();
  if (shape.size() != 3 || (layers.context != 0 && shape[2] != layers.context) ||
      vector.shape() != Shape{shape[0], layers.vector} || context.count() == 0)
    throw Error(fmt::format("the network takes contexts [N,tokens,{}] and vectors [N,{}], not {} and {}",
                            layers.context, layers.vector, to_string(shape), to_string(vector.shape())));
  auto conditioning = std::make_shared<ImageConditioning>();
  conditioning->context.resize(transformers.size());
  const auto walk = [&](Session& session) {
    const Tensor tokens = in_session_type(session, context.reshaped({shape[0] * shape[1], shape[2]}));
    const auto keep = [&](const Tensor& result, Tensor& kept) {
      session.keep(kept, result.shape());
      copy(session, result, kept);
    };
    const Tensor first = layers.label_first(session, in_session_type(session, vector), Activation::silu);
    keep(layers.label_second(session, first), conditioning->label);
    for (size_t i = 0; i < transformers.size(); ++i) {
      const std::vector<Tensor> keys = transformers[i]->context_keys(session, tokens);
      conditioning->context[i].resize(keys.size());
      for (size_t j = 0; j < keys.size(); ++j) keep(keys[j], conditioning->context[i][j]);
    }
  };
  Session::run(arena, {}, walk, type);
  return conditioning;
}

}  // namespace eg4d
