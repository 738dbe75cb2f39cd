#include "diffusion/video_blocks.h"

#include <cmath>

namespace eg4d {
namespace {

constexpr float kTransformerNormEpsilon = 1e-6f;

float learned_weight(const Loader& loader) {
  return 1 / (1 + std::exp(-loader.scalar("time_mixer.mix_factor")));
}

}  // namespace

// ---------------------------------------------------------------- residual block

VideoResidualBlock::Branch VideoResidualBlock::make_branch(const Loader& loader, int64_t in, int64_t out,
                                                           int64_t embedding, float frames_scale) {
  const bool over_frames = frames_scale != 0;
  Branch branch;
  branch.first_norm = loader.norm("in_layers.0", in, 1e-5f);
  branch.first = over_frames ? loader.frame_convolution("in_layers.2", in, out)
                             : loader.convolution("in_layers.2", in, out, 3);
  branch.embedding = loader.linear("emb_layers.1", embedding, out);
  branch.second_norm = loader.norm("out_layers.0", out, 1e-5f);
  branch.second = over_frames ? loader.frame_convolution("out_layers.3", out, out, frames_scale)
                              : loader.convolution("out_layers.3", out, out, 3);
  return branch;
}

VideoResidualBlock::VideoResidualBlock(const Loader& loader, int64_t in, int64_t out, int64_t embedding)
    : path_(loader.path()), projects_(in != out) {
  spatial_ = make_branch(loader, in, out, embedding, 0);
  const float spatial_weight = learned_weight(loader);
  temporal_ = make_branch(loader.at("time_stack"), out, out, embedding, 1 - spatial_weight);
  if (projects_) skip_ = loader.linear("skip_connection", in, out);
}

Tensor VideoResidualBlock::operator()(Session& session, const Tensor& x, const Tensor& embedding,
                                      int64_t frames) const {
  Tensor hidden;
  {
    const Tensor normed = group_norm(session, spatial_.first_norm, x, {.activation = Activation::silu});
    session.observe(path_ + "in_layers.1", normed);
    hidden = spatial_.first(session, normed);
    session.observe(path_ + "in_layers", hidden);
  }
  const Tensor spatial_shift = spatial_.embedding(session, embedding);
  session.observe(path_ + "emb_layers", spatial_shift);
  group_norm(session, spatial_.second_norm, hidden, hidden,
             {.activation = Activation::silu, .add = spatial_shift});
  const Tensor y = projects_ ? skip_(session, x) : session.empty(hidden.shape());
  spatial_.second.add(session, hidden, projects_ ? y : x, y);

  group_norm(session, temporal_.first_norm, y, hidden, {.pictures = frames, .activation = Activation::silu});
  hidden = temporal_.first.over_frames(session, hidden, frames);
  const Tensor temporal_shift = temporal_.embedding(session, embedding);
  group_norm(session, temporal_.second_norm, hidden, hidden,
             {.pictures = frames, .activation = Activation::silu, .add = temporal_shift});
  temporal_.second.add_over_frames(session, hidden, y, frames);
  session.observe(path_.substr(0, path_.size() - 1), y);
  return y;
}

// ---------------------------------------------------------------- transformer

VideoTransformer::VideoTransformer(const Loader& loader, int64_t channels, int64_t context_width,
                                   int64_t head_channels)
    : path_(loader.path()), channels_(channels), heads_(channels / head_channels) {
  norm_ = loader.norm("norm", channels, kTransformerNormEpsilon);
  in_ = loader.linear("proj_in", channels, channels);
  const int64_t depth = std::max(loader.children("transformer_blocks"), loader.children("time_stack"));
  for (int64_t i = 0; i < depth; ++i) {
    spatial_.push_back(
        make_block(loader.at("transformer_blocks." + std::to_string(i)), context_width, false));
    temporal_.push_back(make_block(loader.at("time_stack." + std::to_string(i)), context_width, true));
  }
  const int64_t wide = loader.extent(
      {{"time_pos_embed.0.bias", 0}, {"time_pos_embed.0.weight", 0}, {"time_pos_embed.2.weight", 1}});
  position_first_ = loader.linear("time_pos_embed.0", channels, wide);
  position_second_ = loader.linear("time_pos_embed.2", wide, channels);
  spatial_weight_ = learned_weight(loader);
  out_ = loader.linear("proj_out", channels, channels);
}

VideoTransformer::Block VideoTransformer::make_block(const Loader& loader, int64_t context_width,
                                                     bool temporal) const {
  const auto feed_forward = [&](const std::string& name) {
    const Loader feed = loader.at(name);
    const int64_t inner =
        feed.extent({{"net.2.weight", 1, 1}, {"net.0.proj.bias", 0, 2}, {"net.0.proj.weight", 0, 2}});
    return FeedForward{feed.linear("net.0.proj", channels_, 2 * inner),
                       feed.linear("net.2", inner, channels_)};
  };
  Block block;
  block.norm1 = loader.norm("norm1", channels_, 1e-5f);
  const Loader self = loader.at("attn1"), cross = loader.at("attn2");
  block.to_query = self.linear("to_q", channels_, channels_, {.bias = false});
  block.to_key_value = self.stacked_linear({"to_k", "to_v"}, channels_, channels_, {.bias = false});
  block.to_out = self.linear("to_out.0", channels_, channels_);
  // The softmax over a single context token is 1 whatever queries and keys are.
  cross.unused("to_q.weight", {channels_, channels_});
  cross.unused("to_k.weight", {channels_, context_width});
  loader.unused("norm2.weight", {channels_});
  loader.unused("norm2.bias", {channels_});
  block.cross_value = cross.linear("to_v", context_width, channels_, {.bias = false});
  block.cross_out = cross.linear("to_out.0", channels_, channels_);
  block.norm3 = loader.norm("norm3", channels_, 1e-5f);
  block.feed = feed_forward("ff");
  if (temporal) {
    block.norm_in = loader.norm("norm_in", channels_, 1e-5f);
    block.feed_in = feed_forward("ff_in");
  }
  return block;
}

TransformerConstants VideoTransformer::constants(Session& session, const Tensor& context,
                                                 const Tensor& frame_embedding) const {
  const int64_t rows = context.dim(0), width = context.dim(1), frames = frame_embedding.dim(0);
  const int64_t videos = rows / frames;
  // Over the frames, the context is that of the video's first frame.
  const Tensor first = session.empty({videos, width});
  session.ops().copy_rows({.rows = videos,
                           .width = width,
                           .from = context.data(),
                           .from_pitch = frames * width,
                           .to = first.data(),
                           .to_pitch = width});
  TransformerConstants constants;
  for (size_t i = 0; i < depth(); ++i) {
    constants.spatial.push_back(spatial_[i].cross_out(session, spatial_[i].cross_value(session, context)));
    constants.temporal.push_back(temporal_[i].cross_out(session, temporal_[i].cross_value(session, first)));
  }
  constants.frame_position =
      position_second_(session, position_first_(session, frame_embedding, Activation::silu));
  return constants;
}

// tokens += to_out(attention(to_q(queries), to_k(keys), to_v(keys))); `sequences` tells outer, inner, queries
// = keys and, in q, the strides of tokens in a tensor of `channels` columns.
void VideoTransformer::attend(Session& session, const Block& block, const Tensor& queries, const Tensor& keys,
                              const Tensor& tokens, const Attention& sequences) const {
  const Tensor q = block.to_query(session, queries), kv = block.to_key_value(session, keys);
  Attention a = sequences;
  a.heads = heads_;
  a.head_dim = channels_ / heads_;
  a.keys = a.queries;
  a.q.data = q.data();
  a.y = q.data();
  a.y_outer_stride = a.q.outer_stride;
  a.y_inner_stride = a.q.inner_stride;
  a.y_token_stride = a.q.token_stride;
  a.k = {kv.data(), 2 * a.q.outer_stride, 2 * a.q.inner_stride, 2 * a.q.token_stride};
  a.v = a.k;
  a.v.data += channels_;
  session.ops().attention(a);
  block.to_out.add_to(session, q, tokens);
}

void VideoTransformer::spatial(Session& session, const Block& block, const Tensor& tokens, const Call& call,
                               size_t depth, int64_t pictures) const {
  const int64_t pixels = tokens.dim(0) / pictures;
  Attention sequences;
  sequences.outer = pictures;
  sequences.queries = pixels;
  sequences.q = {nullptr, pixels * channels_, 0, channels_};
  {
    const Tensor queries = layer_norm(session, block.norm1, tokens);
    if (call.injection) {
      const Tensor mixed =
          call.injection->keys_and_values(session, call.first_injection_layer + depth, tokens);
      attend(session, block, queries, layer_norm(session, block.norm1, mixed), tokens, sequences);
    } else {
      attend(session, block, queries, queries, tokens, sequences);
    }
  }
  const Tensor normed =
      layer_norm(session, block.norm3, tokens,
                 {.add = call.constants->spatial[depth], .rows_per_add = pixels, .sum = tokens});
  block.feed.add_to(session, normed, tokens);
}

Tensor VideoTransformer::temporal(Session& session, const Block& block, const Tensor& tokens,
                                  const Call& call, size_t depth, int64_t pictures) const {
  const int64_t pixels = tokens.dim(0) / pictures;
  Tensor mixed = session.empty(tokens.shape());
  {
    const Tensor normed =
        layer_norm(session, block.norm_in, tokens,
                   {.add = call.constants->frame_position, .rows_per_add = pixels, .sum = mixed});
    block.feed_in.add_to(session, normed, mixed);
  }
  Attention sequences;
  sequences.outer = pictures / call.frames;
  sequences.inner = pixels;
  sequences.queries = call.frames;
  sequences.q = {nullptr, call.frames * pixels * channels_, channels_, pixels * channels_};
  {
    const Tensor normed = layer_norm(session, block.norm1, mixed);
    attend(session, block, normed, normed, mixed, sequences);
  }
  const Tensor normed = layer_norm(
      session, block.norm3, mixed,
      {.add = call.constants->temporal[depth], .rows_per_add = call.frames * pixels, .sum = mixed});
  block.feed.add_to(session, normed, mixed);
  return mixed;
}

Tensor VideoTransformer::operator()(Session& session, const Tensor& x, const Call& call) const {
  const int64_t pictures = x.dim(0);
  Tensor tokens;
  {
    const Tensor normed = group_norm(session, norm_, x, {});
    session.observe(path_ + "norm", normed);
    tokens = in_(session, normed).reshaped({x.count() / channels_, channels_});
    session.observe(path_ + "proj_in", tokens);
  }
  for (size_t depth = 0; depth < this->depth(); ++depth) {
    const std::string number = std::to_string(depth);
    spatial(session, spatial_[depth], tokens, call, depth, pictures);
    session.observe(path_ + "transformer_blocks." + number, tokens);
    const Tensor mixed = temporal(session, temporal_[depth], tokens, call, depth, pictures);
    session.observe(path_ + "time_stack." + number, mixed);
    blend(session, tokens, mixed, spatial_weight_, tokens);
    session.observe(path_ + "time_mixer", tokens);
  }
  Tensor y = session.empty(x.shape());
  session.ops().linear({.rows = tokens.dim(0),
                        .x = tokens.data(),
                        .weight = out_.weight.get(),
                        .residual = x.data(),
                        .y = y.data()});
  session.observe(path_.substr(0, path_.size() - 1), y);
  return y;
}

}  // namespace eg4d
