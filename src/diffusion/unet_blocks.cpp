#include "diffusion/unet_blocks.h"

namespace eg4d {

int64_t residual_channels(const Loader& loader) {
  return loader.extent({{"out_layers.3.bias", 0},
                        {"out_layers.3.weight", 0},
                        {"out_layers.0.weight", 0},
                        {"in_layers.2.bias", 0},
                        {"emb_layers.1.bias", 0}});
}

ResidualBlock::ResidualBlock(const Loader& loader, int64_t in, int64_t out, int64_t embedding)
    : path_(loader.path()),
      first_norm_(loader.group_norm("in_layers.0", in, 1e-5f)),
      second_norm_(loader.group_norm("out_layers.0", out, 1e-5f)),
      first_(loader.convolution("in_layers.2", in, out, 3)),
      second_(loader.convolution("out_layers.3", out, out, 3)),
      embedding_(loader.linear("emb_layers.1", embedding, out)),
      projects_(in != out) {
  if (projects_) skip_ = loader.linear("skip_connection", in, out);
}

Tensor ResidualBlock::operator()(Session& session, const Tensor& x, const Tensor& embedding) const {
  Tensor hidden;
  {
    const Tensor normed = group_norm(session, first_norm_, x, {.activation = Activation::silu});
    session.observe(path_ + "in_layers.1", normed);
    hidden = first_(session, normed);
    session.observe(path_ + "in_layers", hidden);
  }
  const Tensor shift = embedding_(session, embedding);
  session.observe(path_ + "emb_layers", shift);
  group_norm(session, second_norm_, hidden, hidden, {.activation = Activation::silu, .add = shift});
  const Tensor y = projects_ ? skip_(session, x) : session.empty(hidden.shape());
  second_.add(session, hidden, projects_ ? y : x, y);
  return y;
}

AttentionLayers AttentionLayers::load(const Loader& loader, int64_t channels, int64_t context_width,
                                      int64_t heads) {
  AttentionLayers layers;
  layers.heads = heads;
  layers.to_query = loader.linear("to_q", channels, channels, {.bias = false});
  layers.to_key_value = loader.stacked_linear({"to_k", "to_v"}, context_width, channels, {.bias = false});
  layers.to_out = loader.linear("to_out.0", channels, channels);
  return layers;
}

void attend(Session& session, const AttentionLayers& layers, const Tensor& queries, const Tensor& key_values,
            const Tensor& tokens, const Attention& sequences) {
  const int64_t channels = layers.to_query.out;
  const Tensor q = layers.to_query(session, queries);
  Attention a = sequences;
  a.heads = layers.heads;
  a.head_dim = channels / layers.heads;
  a.q.data = q.array();
  a.y = queries.array();  // whose place is free now
  a.y_outer_stride = a.q.outer_stride;
  a.y_inner_stride = a.q.inner_stride;
  a.y_token_stride = a.q.token_stride;
  const Attention::Operand& k = sequences.k;
  a.k = {key_values.array(), 2 * k.outer_stride, 2 * k.inner_stride, 2 * k.token_stride};
  a.v = a.k;
  a.v.data = a.v.data.at(channels);
  session.run(a);
  layers.to_out.add_to(session, queries, tokens);
}

Attention over_pixels(int64_t pictures, int64_t pixels, int64_t channels, int64_t keys) {
  Attention sequences;
  sequences.outer = pictures;
  sequences.queries = pixels;
  sequences.keys = keys;
  sequences.q = {nullptr, pixels * channels, 0, channels};
  sequences.k = {nullptr, keys * channels, 0, channels};
  return sequences;
}

namespace {
// Of the published networks' outermost channels the product with its gate is faster in 16 bits than in 8
// (docs/gpu-networks.md).
constexpr int64_t kNotInEightBits = 320;
}  // namespace

FeedForwardLayer load_feed_forward(const Loader& loader, int64_t channels) {
  const int64_t inner =
      loader.extent({{"net.2.weight", 1, 1}, {"net.0.proj.bias", 0, 2}, {"net.0.proj.weight", 0, 2}});
  const bool may_be_fp8 = channels != kNotInEightBits;
  return {loader.linear("net.0.proj", channels, 2 * inner, {.feed_forward = may_be_fp8}),
          loader.linear("net.2", inner, channels, {.feed_forward = may_be_fp8})};
}

}  // namespace eg4d
