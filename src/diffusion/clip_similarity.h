#pragma once

#include <vector>

#include "diffusion/clip_image.h"
#include "io/image.h"

namespace eg4d {

// CLIP-I: how alike two pictures are to CLIP, as the cosine of their embeddings.
class ClipSimilarity {
 public:
  // weights: a CLIP model under Hugging Face's names (its text tower is not used), or anything that holds
  // OpenCLIP's image tower, such as the checkpoints of SVD. Throws Error when there is none.
  ClipSimilarity(Backend& backend, const WeightMap& weights);
  // The image tower's tensors; throws Error when they do not fit.
  static WeightMap checked(const WeightMap& weights);

  // Prepared as CLIP's training pictures were: the shorter side to the network's size (bicubic), the middle
  // square, mean and deviation. Transparency lies on white.
  std::vector<float> embed(const Picture& picture);

 private:
  ClipImageEncoder encoder_;
  std::unique_ptr<PreparedFunction> call_;
};

// 0 when either has no length.
double cosine(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace eg4d
