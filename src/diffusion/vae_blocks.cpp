#include "diffusion/vae_blocks.h"

#include <cmath>

namespace eg4d {

int64_t AutoencoderBlock::channels_of(const Loader& loader) {
  return loader.extent({{"conv2.bias", 0}, {"conv2.weight", 0}, {"conv1.bias", 0}, {"norm2.weight", 0}});
}

AutoencoderBlock::AutoencoderBlock(const Loader& loader, int64_t in, int64_t out, bool temporal)
    : norm1_(loader.norm("norm1", in, kAutoencoderEpsilon)),
      norm2_(loader.norm("norm2", out, kAutoencoderEpsilon)),
      first_(loader.convolution("conv1", in, out, 3)),
      second_(loader.convolution("conv2", out, out, 3)) {
  if (in != out) shortcut_ = loader.linear("nin_shortcut", in, out);
  if (!temporal) return;
  const float weight = 1 / (1 + std::exp(-loader.scalar("mix_factor")));
  const Loader frames = loader.at("time_stack");
  temporal_ = Temporal{frames.norm("in_layers.0", out, 1e-5f), frames.norm("out_layers.0", out, 1e-5f),
                       frames.frame_convolution("in_layers.2", out, out),
                       frames.frame_convolution("out_layers.3", out, out, weight)};
}

Tensor AutoencoderBlock::operator()(Session& session, const Tensor& x, int64_t frames) const {
  Tensor hidden;
  {
    const Tensor normed = group_norm(session, norm1_, x, {.activation = Activation::silu});
    hidden = first_(session, normed);
  }
  group_norm(session, norm2_, hidden, hidden, {.activation = Activation::silu});
  const Tensor y = shortcut_ ? (*shortcut_)(session, x) : session.empty(hidden.shape());
  second_.add(session, hidden, shortcut_ ? y : x, y);
  if (!temporal_) return y;
  group_norm(session, temporal_->norm1, y, hidden, {.pictures = frames, .activation = Activation::silu});
  hidden = temporal_->first.over_frames(session, hidden, frames);
  group_norm(session, temporal_->norm2, hidden, hidden, {.pictures = frames, .activation = Activation::silu});
  temporal_->second.add_over_frames(session, hidden, y, frames);
  return y;
}

AutoencoderMiddle::AutoencoderMiddle(const Loader& loader, int64_t channels, bool temporal)
    : first_(loader.at("block_1"), channels, channels, temporal),
      second_(loader.at("block_2"), channels, channels, temporal) {
  const Loader attention = loader.at("attn_1");
  norm_ = attention.norm("norm", channels, kAutoencoderEpsilon);
  query_key_value_ = attention.stacked_linear({"q", "k", "v"}, channels, channels, {});
  out_ = attention.linear("proj_out", channels, channels);
}

Tensor AutoencoderMiddle::attend(Session& session, const Tensor& x) const {
  const int64_t pictures = x.dim(0), pixels = x.dim(1) * x.dim(2), channels = x.dim(3);
  Tensor y = session.empty(x.shape());
  {
    const Tensor normed = group_norm(session, norm_, x, {});
    const Tensor qkv = query_key_value_(session, normed);
    Attention a;
    a.outer = pictures;
    a.head_dim = channels;
    a.queries = a.keys = pixels;
    a.q = {qkv.data(), pixels * 3 * channels, 0, 3 * channels};
    a.k = a.v = a.q;
    a.k.data += channels;
    a.v.data += 2 * channels;
    a.y = normed.data();
    a.y_outer_stride = pixels * channels;
    a.y_token_stride = channels;
    session.ops().attention(a);
    session.ops().linear({.rows = pictures * pixels,
                          .x = normed.data(),
                          .weight = out_.weight.get(),
                          .residual = x.data(),
                          .y = y.data()});
  }
  return y;
}

Tensor AutoencoderMiddle::operator()(Session& session, const Tensor& x, int64_t frames) const {
  Tensor h = first_(session, x, frames);
  session.observe("mid.block_1", h);
  h = attend(session, h);
  session.observe("mid.attn_1", h);
  h = second_(session, h, frames);
  session.observe("mid.block_2", h);
  return h;
}

}  // namespace eg4d
