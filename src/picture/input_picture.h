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

// For SV3D with the background kept: without transparency first fitted into 768×768 (Lanczos), as the
// published script does; alpha on white; then Lanczos to side × side.
InputPicture multiview_input(const Picture& picture, int side = kSquareSide);

// What is cut out by a network is first fitted into 768×768.
Picture fitted_for_cutting(const Picture& picture);

// Pixels of a picture; right and bottom are exclusive.
struct PictureBox {
  int left = 0, top = 0, right = 0, bottom = 0;
  static PictureBox whole(const Picture& picture) { return {0, 0, picture.width, picture.height}; }
};
PictureBox united(const PictureBox& a, const PictureBox& b);
// Around alpha > 0; empty when all is transparent. Throws Error for a picture without alpha.
std::optional<PictureBox> visible_box(const Picture& rgba);

// Where a cut-out object stands in SV3D's input.
enum class Recentre {
  none,    // where it stands in the picture, as published: the box is the whole picture
  object,  // every frame's own box in the middle, as in SV3D's own script
  video,   // the middle of one box around the object in all frames
};

// For SV3D with the background removed before (alpha is the matte): `box` is centred in a transparent square,
// which is resized to side × side (Lanczos) and put on white, truncated to 8 bits. The square's side is the
// box's larger side / image_frame_ratio, rounded down; without a ratio the picture's height, or the box's
// larger side where that is more (the published script fails there, for pictures wider than high). Throws
// UsageError for a ratio outside (0, 1], Error for a picture without alpha.
Picture recentred_input(const Picture& rgba, const PictureBox& box, std::optional<double> image_frame_ratio,
                        int side = kSquareSide);

// How numbers become 8 bits.
enum class ByteRounding { nearest, truncate };

// [height, width, 3] in [-1, 1] and back (clamped).
std::vector<float> to_model_range(const Picture& rgb);
Picture from_model_range(std::span<const float> values, int width, int height,
                         ByteRounding rounding = ByteRounding::nearest);

}  // namespace eg4d
