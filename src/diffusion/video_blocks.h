#pragma once

// The building blocks of VideoUNet. N pictures are the frames of N/frames videos.

#include <vector>

#include "diffusion/attention_injection.h"
#include "diffusion/unet_blocks.h"

namespace eg4d {

// A spatial residual block, then one of convolutions over the frames on its result y; blended as
// a·y + (1-a)·(y + h) = y + (1-a)·h: (1-a) is folded into the last layer's weights.
class VideoResidualBlock {
 public:
  VideoResidualBlock(const Loader& loader, int64_t in, int64_t out, int64_t embedding);

  // x: [N,H,W,in], embedding (after SiLU): [N,embedding] → [N,H,W,out].
  Tensor operator()(Session& session, const Tensor& x, const Tensor& embedding, int64_t frames) const;
  int64_t out() const { return spatial_.out(); }

 private:
  std::string path_;
  ResidualBlock spatial_;
  // Over the frames.
  NormLayer first_norm_, second_norm_;
  ConvolutionLayer first_, second_;
  LinearLayer embedding_;
};

// What a transformer adds that does not depend on the picture.
struct TransformerConstants {
  std::vector<Tensor> spatial;   // per depth, [N,channels]: cross-attention
  std::vector<Tensor> temporal;  // per depth, [videos,channels]
  Tensor frame_position;         // [frames,channels]
};

// Transformers over the pixels of each frame and over the frames at each pixel.
class VideoTransformer {
 public:
  // heads = channels / head_channels
  VideoTransformer(const Loader& loader, int64_t channels, int64_t context_width, int64_t head_channels);

  // context: [N,context_width]; frame_embedding: sinusoids of the frame numbers, [frames,channels].
  TransformerConstants constants(Session& session, const Tensor& context,
                                 const Tensor& frame_embedding) const;

  struct Call {
    int64_t frames = 1;
    const TransformerConstants* constants = nullptr;
    AttentionInjection* injection = nullptr;
    AttentionInjection::Role role = AttentionInjection::Role::first_video;
    size_t first_injection_layer = 0;
  };
  Tensor operator()(Session& session, const Tensor& x, const Call& call) const;  // [N,H,W,channels]
  int64_t channels() const { return channels_; }
  size_t depth() const { return spatial_.size(); }

 private:
  struct Block {
    NormLayer norm1, norm3, norm_in;  // norm_in and feed_in: only over the frames
    AttentionLayers self;
    LinearLayer cross_value, cross_out;
    FeedForwardLayer feed, feed_in;
  };
  Block make_block(const Loader& loader, int64_t context_width, bool temporal) const;
  void spatial(Session& session, const Block& block, const Tensor& tokens, const Call& call, size_t depth,
               int64_t pictures) const;
  Tensor temporal(Session& session, const Block& block, const Tensor& tokens, const Call& call, size_t depth,
                  int64_t pictures) const;

  std::string path_;
  int64_t channels_, heads_;
  NormLayer norm_;
  LinearLayer in_, out_, position_first_, position_second_;
  std::vector<Block> spatial_, temporal_;
  float spatial_weight_ = 1;
};

}  // namespace eg4d
