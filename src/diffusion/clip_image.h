#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "nn/prepared_call.h"
#include "nn/weights.h"

namespace eg4d {

// The image tower of CLIP (Radford et al. 2021; Dosovitskiy et al. 2021): a vision transformer. OpenCLIP's
// ViT-H under its own names ("conv1.weight"), whose projected class token is the context of SVD and SV3D; or
// OpenAI's ViT-B and ViT-L under Hugging Face's ("vision_model.pre_layrnorm.weight"), which use quick GELU.
class ClipImageEncoder {
 public:
  // Sizes are read from the tensors, except the width of an attention head.
  struct Options {
    // 0: the file's metadata "clip_head_channels", else 80 as in ViT-H/14, and 64 for OpenAI's.
    int64_t head_channels = 0;
    // Absent: the exact GELU for OpenCLIP's names, quick GELU for Hugging Face's.
    std::optional<Activation> activation = {};
    NetworkType type = {};
    std::shared_ptr<Arena> arena = {};  // shared with networks that do not run at the same time; or its own
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

  // pictures: [N,picture_size,picture_size,3] as clip_preprocess makes them → [N,width], both f32.
  // Observer names: patch_embed, ln_pre, block0, …, ln_post.
  Tensor forward(const Tensor& pictures, const Observer& observer = {});
  // The same, prepared for N pictures. The encoder must outlive it.
  std::unique_ptr<PreparedFunction> prepare(int64_t pictures);
  // A host picture [height,width,3] in [-1,1] → [width].
  std::vector<float> embed(std::span<const float> picture, int64_t height, int64_t width);

 private:
  struct Network;
  std::unique_ptr<Network> network_;
};

// Of CLIP's training pictures, in [0,1].
inline constexpr float kClipMean[] = {0.48145466f, 0.4578275f, 0.40821073f};
inline constexpr float kClipDeviation[] = {0.26862954f, 0.26130258f, 0.27577711f};

// What OpenCLIP's embedder in SVD does to a picture [height,width,3] in [-1,1] first: a Gaussian blur where
// it shrinks, bicubic interpolation to size × size (A = -0.75, corners aligned), then the mean and deviation
// of CLIP's training pictures. Values are not clamped. On the host. Throws Error for an empty picture.
std::vector<float> clip_preprocess(std::span<const float> picture, int64_t height, int64_t width,
                                   int64_t size);

}  // namespace eg4d
