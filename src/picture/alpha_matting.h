#pragma once

#include <cstdint>
#include <vector>

#include "io/image.h"

namespace eg4d {

// What a segmentation is sure of: wholly object, wholly background, or neither.
enum class Trimap : uint8_t { background, unknown, foreground };

struct TrimapOptions {
  int foreground_threshold = 240;  // of the matte, 0 to 255: above it is object
  int background_threshold = 10;   // below it is background
  int erode_size = 10;             // pixels: both are eroded by a square of this side
};
// matte: one channel. Outside the picture, background goes on and the object does not.
std::vector<Trimap> make_trimap(const Picture& matte, const TrimapOptions& options);

// How much of each pixel is object, in [0,1], by the closed-form solution of Levin, Lischinski & Weiss ("A
// closed-form solution to natural image matting", 2008): in every window of 3×3 pixels, alpha is taken to be
// an affine function of the colour. rgb: 3 channels; the trimap has a value per pixel. Solved by conjugate
// gradients in double, from coarse to fine; the same bits for any number of threads.
std::vector<float> closed_form_alpha(const Picture& rgb, const std::vector<Trimap>& trimap);

// The object's own colours where it is partly transparent (Germer et al., "Fast multi-level foreground
// estimation", 2020): minimises ‖αF + (1-α)B - I‖² with F and B smooth where α is. Returns rgb's colours
// without the background's share, as 3 channels.
Picture estimate_foreground(const Picture& rgb, const std::vector<float>& alpha);

// The object cut out of a picture: RGBA, alpha not premultiplied. `matte`: one channel, of rgb's size.
// Without alpha matting, the matte is the alpha and the colours stay.
Picture cut_out(const Picture& rgb, const Picture& matte, bool alpha_matting,
                const TrimapOptions& options = {});

}  // namespace eg4d
