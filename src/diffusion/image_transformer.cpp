#include "diffusion/image_transformer.h"

namespace eg4d {

ImageTransformer::ImageTransformer(const Loader& loader, int64_t channels, int64_t context_width,
                                   int64_t head_channels)
    : path_(loader.path()), channels_(channels) {
  const int64_t heads = channels / head_channels;
  norm_ = loader.group_norm("norm", channels, kTransformerNormEpsilon);
  in_ = loader.linear("proj_in", channels, channels);
  for (int64_t i = 0, depth = loader.children("transformer_blocks"); i < depth; ++i) {
    const Loader part = loader.at("transformer_blocks." + std::to_string(i));
    Block block;
    block.norm1 = part.norm("norm1", channels, 1e-5f);
    block.self = AttentionLayers::load(part.at("attn1"), channels, channels, heads);
    block.norm2 = part.norm("norm2", channels, 1e-5f);
    block.cross = AttentionLayers::load(part.at("attn2"), channels, context_width, heads);
    block.norm3 = part.norm("norm3", channels, 1e-5f);
    block.feed = load_feed_forward(part.at("ff"), channels);
    blocks_.push_back(std::move(block));
  }
  out_ = loader.linear("proj_out", channels, channels);
}

std::vector<Tensor> ImageTransformer::context_keys(Session& session, const Tensor& context) const {
  std::vector<Tensor> keys;
  for (const Block& block : blocks_) keys.push_back(block.cross.to_key_value(session, context));
  return keys;
}

void ImageTransformer::apply(Session& session, const Block& block, const Tensor& tokens,
                             const Tensor& context_keys, int64_t pictures) const {
  const int64_t pixels = tokens.dim(0) / pictures;
  {
    const Tensor normed = layer_norm(session, block.norm1, tokens);
    attend(session, block.self, normed, block.self.to_key_value(session, normed), tokens,
           over_pixels(pictures, pixels, channels_, pixels));
  }
  {
    const Tensor normed = layer_norm(session, block.norm2, tokens);
    attend(session, block.cross, normed, context_keys, tokens,
           over_pixels(pictures, pixels, channels_, context_keys.dim(0) / pictures));
  }
  const Tensor normed = layer_norm(session, block.norm3, tokens);
  block.feed.add_to(session, normed, tokens);
}

Tensor ImageTransformer::operator()(Session& session, const Tensor& x,
                                    const std::vector<Tensor>& context_keys) const {
  Tensor tokens;
  {
    const Tensor normed = group_norm(session, norm_, x, {});
    tokens = in_(session, normed).reshaped({x.count() / channels_, channels_});
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    apply(session, blocks_[i], tokens, context_keys.at(i), x.dim(0));
    session.observe(path_ + "transformer_blocks." + std::to_string(i), tokens);
  }
  Tensor y = session.empty(x.shape());
  session.run(Linear{.rows = tokens.dim(0),
                     .x = tokens.array(),
                     .weight = out_.weight.get(),
                     .residual = x.array(),
                     .y = y.array()});
  return y;
}

}  // namespace eg4d
