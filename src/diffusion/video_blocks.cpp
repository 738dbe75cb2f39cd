#include "diffusion/video_blocks.h"

#include <cmath>

namespace eg4d {
namespace {

float learned_weight(const Loader& loader) {
  return 1 / (1 + std::exp(-loader.scalar("time_mixer.mix_factor")));
}

}  // namespace

// ---------------------------------------------------------------- residual block

VideoResidualBlock::VideoResidualBlock(const Loader& loader, int64_t in, int64_t out, int64_t embedding)
    : path_(loader.path()), spatial_(loader, in, out, embedding) {
  const float frames_weight = 1 - learned_weight(loader);
  const Loader frames = loader.at("time_stack");
  first_norm_ = frames.group_norm("in_layers.0", out, 1e-5f);
  first_ = frames.frame_convolution("in_layers.2", out, out);
  embedding_ = frames.linear("emb_layers.1", embedding, out);
  second_norm_ = frames.group_norm("out_layers.0", out, 1e-5f);
  second_ = frames.frame_convolution("out_layers.3", out, out, frames_weight);
}

Tensor VideoResidualBlock::operator()(Session& session, const Tensor& x, const Tensor& embedding,
                                      int64_t frames) const {
  Tensor y = spatial_(session, x, embedding);
  Tensor hidden = group_norm(session, first_norm_, y, {.pictures = frames, .activation = Activation::silu});
  hidden = first_.over_frames(session, hidden, frames);
  const Tensor shift = embedding_(session, embedding);
  group_norm(session, second_norm_, hidden, hidden,
             {.pictures = frames, .activation = Activation::silu, .add = shift});
  second_.add_over_frames(session, hidden, y, frames);
  session.observe(path_.substr(0, path_.size() - 1), y);
  return y;
}

// ---------------------------------------------------------------- transformer

VideoTransformer::VideoTransformer(const Loader& loader, int64_t channels, int64_t context_width,
                                   int64_t head_channels)
    : path_(loader.path()), channels_(channels), heads_(channels / head_channels) {
  norm_ = loader.group_norm("norm", channels, kTransformerNormEpsilon);
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
  Block block;
  block.norm1 = loader.norm("norm1", channels_, 1e-5f);
  block.self = AttentionLayers::load(loader.at("attn1"), channels_, channels_, heads_);
  const Loader cross = loader.at("attn2");
  // The softmax over a single context token is 1 whatever queries and keys are.
  cross.unused("to_q.weight", {channels_, channels_});
  cross.unused("to_k.weight", {channels_, context_width});
  loader.unused("norm2.weight", {channels_});
  loader.unused("norm2.bias", {channels_});
  block.cross_value = cross.linear("to_v", context_width, channels_, {.bias = false});
  block.cross_out = cross.linear("to_out.0", channels_, channels_);
  block.norm3 = loader.norm("norm3", channels_, 1e-5f);
  block.feed = load_feed_forward(loader.at("ff"), channels_);
  if (temporal) {
    block.norm_in = loader.norm("norm_in", channels_, 1e-5f);
    block.feed_in = load_feed_forward(loader.at("ff_in"), channels_);
  }
  return block;
}

TransformerConstants VideoTransformer::constants(Session& session, const Tensor& context,
                                                 const Tensor& frame_embedding) const {
  const int64_t rows = context.dim(0), width = context.dim(1), frames = frame_embedding.dim(0);
  const int64_t videos = rows / frames;
  // Over the frames, the context is that of the video's first frame.
  const Tensor first = session.empty({videos, width});
  session.run(CopyRows{.rows = videos,
                       .width = width,
                       .from = context.array(),
                       .from_pitch = frames * width,
                       .to = first.array(),
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

void VideoTransformer::spatial(Session& session, const Block& block, const Tensor& tokens, const Call& call,
                               size_t depth, int64_t pictures) const {
  const int64_t pixels = tokens.dim(0) / pictures;
  const Attention sequences = over_pixels(pictures, pixels, channels_, pixels);
  {
    const Tensor queries = layer_norm(session, block.norm1, tokens);
    const Tensor keys =
        call.injection ? call.injection->normed_for_keys(session, call.role, block.norm1,
                                                         call.first_injection_layer + depth, tokens, queries)
                       : queries;
    attend(session, block.self, queries, block.self.to_key_value(session, keys), tokens, sequences);
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
  sequences.queries = sequences.keys = call.frames;
  sequences.q = sequences.k = {nullptr, call.frames * pixels * channels_, channels_, pixels * channels_};
  {
    const Tensor normed = layer_norm(session, block.norm1, mixed);
    attend(session, block.self, normed, block.self.to_key_value(session, normed), mixed, sequences);
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
  session.run(Linear{.rows = tokens.dim(0),
                     .x = tokens.array(),
                     .weight = out_.weight.get(),
                     .residual = x.array(),
                     .y = y.array()});
  session.observe(path_.substr(0, path_.size() - 1), y);
  return y;
}

}  // namespace eg4d
