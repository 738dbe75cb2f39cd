#pragma once

// What CLIP's image tower, its text encoders and other vision transformers share.

#include <vector>

#include "nn/loader.h"

namespace eg4d {

inline constexpr float kClipNormEpsilon = 1e-5f;
inline constexpr int64_t kClipHeadChannels = 64;  // of an attention head, in the text encoders

// OpenCLIP's own names ("transformer.resblocks.0.attn.in_proj_weight"), those of Hugging Face's library
// ("encoder.layers.0.self_attn.q_proj.weight"), or that library's for other vision transformers
// ("encoder.layer.0.attention.attention.query.weight"), whose norms have another epsilon.
enum class ClipNames { open_clip, hugging_face, vision_transformer };

// A transformer block that normalises before attention and before its two linear layers.
class ClipBlock {
 public:
  ClipBlock(const Loader& loader, int64_t width, ClipNames names);

  // In place; x: [sequences·tokens, width].
  struct Call {
    int64_t sequences = 1;
    int64_t head_channels = kClipHeadChannels;
    bool causal = false;
    Activation activation = Activation::gelu;
  };
  void apply(Session& session, const Tensor& x, const Call& call) const;

 private:
  NormLayer norm1_, norm2_;
  LinearLayer query_key_value_, out_, widen_, narrow_;
};

// All blocks, by their numbers.
std::vector<ClipBlock> clip_blocks(const Loader& loader, int64_t width, ClipNames names);

// A layer of values that are not stored as a layer's weight and bias (which may be empty).
LinearLayer packed_linear(const Loader& loader, int64_t in, int64_t out, const std::vector<float>& weight,
                          const std::vector<float>& bias = {});

// [a,b,c] → [a,c,b]
std::vector<float> swap_last_axes(const std::vector<float>& values, int64_t b, int64_t c);

}  // namespace eg4d
