#pragma once

#include <memory>
#include <span>
#include <vector>

#include "nn/session.h"
#include "nn/weights.h"

namespace eg4d {

// The image tower of OpenCLIP (Radford et al. 2021; Dosovitskiy et al. 2021): a vision transformer whose
// projected class token is the context of SVD and SV3D.
class ClipImageEncoder {
 public:
  // Sizes are read from the tensors, except the width of an attention head.
  struct Options {
    int64_t head_channels = 0;  // 0: the file's metadata "clip_head_channels", else 80 as in ViT-H/14
    Precision precision = Precision::f32;
  };
  // Throws Error when tensors below `prefix` are missing, surplus or have another shape. The backend must
  // outlive it; the weights may go.
  ClipImageEncoder(Backend& backend, const WeightMap& weights, const std::string& prefix,
                   const Options& options);
  ClipImageEncoder(Backend& backend, const WeightMap& weights)
      : ClipImageEncoder(backend, weights, "conditioner.embedders.0.open_clip.model.visual.", Options{}) {}
  ~ClipImageEncoder();
  static void check(const WeightMap& weights, const std::string& prefix);

  int64_t picture_size() const;  // 224
  int64_t width() const;         // of the embedding: 1024

  // pictures: [N,picture_size,picture_size,3] as clip_preprocess makes them → [N,width].
  // Observer names: patch_embed, ln_pre, block0, …, ln_post.
  Tensor forward(const Tensor& pictures, const Observer& observer = {});
  // A host picture [height,width,3] in [-1,1] → [width].
  std::vector<float> embed(std::span<const float> picture, int64_t height, int64_t width);

 private:
  struct Network;
  std::unique_ptr<Network> network_;
};

// What OpenCLIP's embedder in SVD does to a picture [height,width,3] in [-1,1] first: a Gaussian blur where
// it shrinks, bicubic interpolation to size × size (A = -0.75, corners aligned), then the mean and deviation
// of CLIP's training pictures. Values are not clamped. On the host. Throws Error for an empty picture.
std::vector<float> clip_preprocess(std::span<const float> picture, int64_t height, int64_t width,
                                   int64_t size);

}  // namespace eg4d
