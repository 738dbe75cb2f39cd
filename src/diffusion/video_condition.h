#pragma once

#include <span>

#include "nn/tensor.h"

namespace eg4d {

// What one video is painted from. Rows as those of a VideoCall.
struct VideoCondition {
  Tensor context;  // [rows, 1 token, context width]
  Tensor vector;   // [rows, vector width]
  Tensor concat;   // [concat rows, height, width, 4]: each stands for as many rows as fit
};

// All frames look at one picture. For both halves the unconditional context and concat are zeros, its vector
// is the same.
struct PictureCondition {
  int frames = 0, height = 0, width = 0;  // of the latents
  std::span<const float> context;         // [context width]
  std::span<const float> concat;          // [height, width, 4]
  std::span<const float> vector;          // [frames, vector width]
};
VideoCondition video_condition(Backend& backend, const PictureCondition& picture, bool both_halves);

}  // namespace eg4d
