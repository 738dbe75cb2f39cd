#include "diffusion/vae_blocks.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace eg4d {

int64_t AutoencoderBlock::channels_of(const Loader& loader) {
  return loader.extent({{"conv2.bias", 0}, {"conv2.weight", 0}, {"conv1.bias", 0}, {"norm2.weight", 0}});
}

AutoencoderBlock::AutoencoderBlock(const Loader& loader, int64_t in, int64_t out, bool temporal)
    : norm1_(loader.group_norm("norm1", in, kAutoencoderEpsilon)),
      norm2_(loader.group_norm("norm2", out, kAutoencoderEpsilon)),
      first_(loader.convolution("conv1", in, out, 3)),
      second_(loader.convolution("conv2", out, out, 3)) {
  if (in != out) shortcut_ = loader.linear("nin_shortcut", in, out);
  if (!temporal) return;
  const float weight = 1 / (1 + std::exp(-loader.scalar("mix_factor")));
  const Loader frames = loader.at("time_stack");
  temporal_ =
      Temporal{frames.group_norm("in_layers.0", out, 1e-5f), frames.group_norm("out_layers.0", out, 1e-5f),
               frames.frame_convolution("in_layers.2", out, out),
               frames.frame_convolution("out_layers.3", out, out, weight)};
}

Tensor AutoencoderBlock::operator()(Session& session, const Tensor& x, int64_t frames, Passed* passed) const {
  Tensor y = over_pixels(session, x, {}, passed);
  over_frames(session, y, frames);
  return y;
}

Tensor AutoencoderBlock::over_pixels(Session& session, const Tensor& x, const Tensor& into,
                                     Passed* passed) const {
  Tensor hidden;
  {
    const Tensor normed = group_norm(session, norm1_, x, {.activation = Activation::silu});
    hidden = first_(session, normed);
  }
  const Tensor before = hidden;
  if (passed) {
    *passed = {x, before};
    hidden = session.empty(before.shape());
  }
  group_norm(session, norm2_, before, hidden, {.activation = Activation::silu});
  Tensor y = into.defined() ? into : session.empty(hidden.shape());
  if (shortcut_) shortcut_->into(session, x, y);
  second_.add(session, hidden, shortcut_ ? y : x, y);
  return y;
}

namespace {

// `count` pixels of all pictures from `begin` on: [N,H,W,C] ↔ [N,1,count,C].
CopyRows strip(const Tensor& pictures, int64_t begin, int64_t count) {
  const int64_t channels = pictures.dim(3);
  return {.rows = pictures.dim(0),
          .width = count * channels,
          .from = pictures.array().at(begin * channels),
          .from_pitch = pictures.dim(1) * pictures.dim(2) * channels,
          .to_pitch = count * channels};
}
Tensor take_strip(Session& session, const Tensor& pictures, int64_t begin, int64_t count) {
  Tensor taken = session.empty({pictures.dim(0), 1, count, pictures.dim(3)});
  CopyRows copy = strip(pictures, begin, count);
  copy.to = taken.array();
  session.run(copy);
  return taken;
}
void put_strip(Session& session, const Tensor& taken, const Tensor& pictures, int64_t begin) {
  CopyRows copy = strip(pictures, begin, taken.dim(2));
  copy.to = pictures.array().at(begin * pictures.dim(3));
  copy.from = taken.array();
  std::swap(copy.from_pitch, copy.to_pitch);
  session.run(copy);
}

}  // namespace

void AutoencoderBlock::over_frames(Session& session, const Tensor& y, int64_t frames,
                                   const FrameStrips& strips) const {
  if (!temporal_) return;
  const GroupNormUse all_frames{.pictures = frames, .activation = Activation::silu};
  Tensor hidden = strips.spare.defined() ? strips.spare : session.empty(y.shape());
  group_norm(session, temporal_->norm1, y, hidden, all_frames);
  if (strips.count == 1) {
    hidden = temporal_->first.over_frames(session, hidden, frames);
    group_norm(session, temporal_->norm2, hidden, hidden, all_frames);
    temporal_->second.add_over_frames(session, hidden, y, frames);
    return;
  }
  const int64_t pixels = y.dim(1) * y.dim(2), each = (pixels + strips.count - 1) / strips.count;
  for (int64_t begin = 0; begin < pixels; begin += each) {
    const Tensor x = take_strip(session, hidden, begin, std::min(each, pixels - begin));
    put_strip(session, temporal_->first.over_frames(session, x, frames), hidden, begin);
  }
  group_norm(session, temporal_->norm2, hidden, hidden, all_frames);
  for (int64_t begin = 0; begin < pixels; begin += each) {
    const int64_t count = std::min(each, pixels - begin);
    const Tensor x = take_strip(session, hidden, begin, count), sum = take_strip(session, y, begin, count);
    temporal_->second.add_over_frames(session, x, sum, frames);
    put_strip(session, sum, y, begin);
  }
}

Tensor AutoencoderBlock::backward(Session& session, const Passed& passed, const Tensor& d_y) const {
  const GroupNormUse use{.activation = Activation::silu};
  const Tensor d_hidden = session.zeros(passed.hidden.shape());
  {
    const Tensor d_normed = session.zeros(passed.hidden.shape());
    second_.backward(session, d_y, d_normed);
    group_norm_backward(session, norm2_, passed.hidden, d_normed, d_hidden, use);
  }
  const Tensor d_normed = session.zeros(passed.x.shape());
  first_.backward(session, d_hidden, d_normed);
  const Tensor d_x = shortcut_ ? session.zeros(passed.x.shape()) : d_y;
  if (shortcut_) shortcut_->backward(session, d_y, d_x);
  group_norm_backward(session, norm1_, passed.x, d_normed, d_x, use);
  return d_x;
}

AutoencoderMiddle::AutoencoderMiddle(const Loader& loader, int64_t channels, bool temporal)
    : first_(loader.at("block_1"), channels, channels, temporal),
      second_(loader.at("block_2"), channels, channels, temporal) {
  const Loader attention = loader.at("attn_1");
  norm_ = attention.group_norm("norm", channels, kAutoencoderEpsilon);
  query_key_value_ = attention.stacked_linear({"q", "k", "v"}, channels, channels, {});
  out_ = attention.linear("proj_out", channels, channels);
}

// Without a result, which is laid out like x.
Attention AutoencoderMiddle::describe(const Tensor& x, const Tensor& query_key_value) {
  const int64_t pixels = x.dim(1) * x.dim(2), channels = x.dim(3);
  Attention a;
  a.outer = x.dim(0);
  a.head_dim = channels;
  a.queries = a.keys = pixels;
  a.q = {query_key_value.array(), pixels * 3 * channels, 0, 3 * channels};
  a.k = a.v = a.q;
  a.k.data = a.k.data.at(channels);
  a.v.data = a.v.data.at(2 * channels);
  a.y_outer_stride = pixels * channels;
  a.y_token_stride = channels;
  return a;
}

Tensor AutoencoderMiddle::attend(Session& session, const Tensor& x, Passed* passed) const {
  Tensor y = session.empty(x.shape());
  {
    const Tensor normed = group_norm(session, norm_, x, {});
    const Tensor qkv = query_key_value_(session, normed);
    if (passed) {
      passed->attended = x;
      passed->query_key_value = qkv;
    }
    Attention a = describe(x, qkv);
    a.y = normed.array();
    session.run(a);
    session.run(Linear{.rows = a.outer * a.queries,
                       .x = normed.array(),
                       .weight = out_.weight.get(),
                       .residual = x.array(),
                       .y = y.array()});
  }
  return y;
}

Tensor AutoencoderMiddle::attend_backward(Session& session, const Passed& passed, const Tensor& d_y) const {
  const Tensor d_result = session.zeros(d_y.shape());
  out_.backward(session, d_y, d_result);
  const Tensor d_qkv = session.zeros(passed.query_key_value.shape());
  const int64_t channels = passed.attended.dim(3);
  session.run(AttentionBackward{describe(passed.attended, passed.query_key_value), d_result.data(),
                                d_qkv.data(), d_qkv.data() + channels, d_qkv.data() + 2 * channels});
  const Tensor d_normed = session.zeros(d_y.shape());
  query_key_value_.backward(session, d_qkv, d_normed);
  group_norm_backward(session, norm_, passed.attended, d_normed, d_y, {});
  return d_y;  // it was the residual's part already
}

Tensor AutoencoderMiddle::operator()(Session& session, const Tensor& x, int64_t frames,
                                     Passed* passed) const {
  Tensor h = first_(session, x, frames, passed ? &passed->first : nullptr);
  session.observe("mid.block_1", h);
  h = attend(session, h, passed);
  session.observe("mid.attn_1", h);
  h = second_(session, h, frames, passed ? &passed->second : nullptr);
  session.observe("mid.block_2", h);
  return h;
}

Tensor AutoencoderMiddle::backward(Session& session, const Passed& passed, const Tensor& d_y) const {
  Tensor d_h = second_.backward(session, passed.second, d_y);
  d_h = attend_backward(session, passed, d_h);
  return first_.backward(session, passed.first, d_h);
}

}  // namespace eg4d
