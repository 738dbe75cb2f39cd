#pragma once

// The building blocks that the image and the video UNet share.

#include "nn/loader.h"

namespace eg4d {

inline constexpr float kTransformerNormEpsilon = 1e-6f;

// Norm, SiLU and convolution twice; the time embedding is added in between, the input at the end.
class ResidualBlock {
 public:
  ResidualBlock(const Loader& loader, int64_t in, int64_t out, int64_t embedding);

  // x: [N,H,W,in], embedding (after SiLU): [N,embedding] → [N,H,W,out].
  Tensor operator()(Session& session, const Tensor& x, const Tensor& embedding) const;
  int64_t out() const { return second_.out; }

 private:
  std::string path_;
  NormLayer first_norm_, second_norm_;
  ConvolutionLayer first_, second_;
  LinearLayer embedding_;
  bool projects_ = false;
  LinearLayer skip_;
};
// The number of channels that a block of the checkpoint puts out.
int64_t residual_channels(const Loader& loader);

// Attention of tokens to themselves or to a context, without the softmax' scale in the weights.
struct AttentionLayers {
  int64_t heads = 1;
  LinearLayer to_query, to_key_value, to_out;  // keys and values side by side

  static AttentionLayers load(const Loader& loader, int64_t channels, int64_t context_width, int64_t heads);
};

// tokens += to_out(attention(to_q(queries), keys, values)). key_values: from to_key_value. `queries` is
// overwritten. `sequences` tells outer, inner, queries, keys, and in q and k the strides of a token that is
// `channels` floats long.
void attend(Session& session, const AttentionLayers& layers, const Tensor& queries, const Tensor& key_values,
            const Tensor& tokens, const Attention& sequences);
// The sequences are the pixels of each picture, keys those of the same or `keys` tokens of a context each.
Attention over_pixels(int64_t pictures, int64_t pixels, int64_t channels, int64_t keys);

FeedForwardLayer load_feed_forward(const Loader& loader, int64_t channels);

}  // namespace eg4d
