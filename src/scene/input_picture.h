#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/image.h"

namespace eg4d {

// A picture made ready for a video model, and a sentence about what was done to it if the user would not
// expect it.
struct InputPicture {
  Picture picture;  // RGB
  std::optional<std::string> warning;
};

// The sides that SVD and SV3D were trained on by EG4D.
inline constexpr int kSquareSide = 576;

// For SVD: alpha on white; then Lanczos to `square_side` (EG4D's `--resize`), or, when that is 0, both sides
// cut down to multiples of 64 (bicubic). Throws Error when a side is under 64 pixels.
InputPicture animation_input(const Picture& picture, int square_side);

// For SV3D with the background kept: alpha on white, Lanczos to side × side.
InputPicture multiview_input(const Picture& picture, int side = kSquareSide);

// For SV3D with the background removed before (alpha is the matte): the bounding box of alpha > 0 is centred
// in a transparent square of side (larger side of the box / image_frame_ratio), which is resized to side ×
// side and put on white. Without a ratio the square is as wide as the picture. Throws Error when all is
// transparent, and UsageError for a ratio outside (0, 1].
InputPicture recentred_input(const Picture& rgba, std::optional<double> image_frame_ratio,
                             int side = kSquareSide);

// [height, width, 3] in [-1, 1] and back (clamped, rounded to nearest).
std::vector<float> to_model_range(const Picture& rgb);
Picture from_model_range(std::span<const float> values, int width, int height);

}  // namespace eg4d
