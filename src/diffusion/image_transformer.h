#pragma once

#include "diffusion/unet_blocks.h"

namespace eg4d {

// A transformer over the pixels of each picture whose blocks also attend to the tokens of a context, as SDXL
// has it (Podell et al. 2023).
class ImageTransformer {
 public:
  // heads = channels / head_channels
  ImageTransformer(const Loader& loader, int64_t channels, int64_t context_width, int64_t head_channels);

  // Keys and values of the context for every block, which do not depend on the picture:
  // [N·tokens,2·channels]. context: [N·tokens,context_width].
  std::vector<Tensor> context_keys(Session& session, const Tensor& context) const;

  // x: [N,H,W,channels], context_keys of the same N.
  Tensor operator()(Session& session, const Tensor& x, const std::vector<Tensor>& context_keys) const;

 private:
  struct Block {
    NormLayer norm1, norm2, norm3;
    AttentionLayers self, cross;
    FeedForwardLayer feed;
  };
  void apply(Session& session, const Block& block, const Tensor& tokens, const Tensor& context_keys,
             int64_t pictures) const;

  std::string path_;
  int64_t channels_;
  NormLayer norm_;
  LinearLayer in_, out_;
  std::vector<Block> blocks_;
};

}  // namespace eg4d
