#pragma once

#include "io/image.h"

namespace eg4d {

enum class ResizeFilter {
  bicubic,  // a = -0.5, support 2
  lanczos,  // a = 3
};

// Separable resampling in 8-bit fixed point, to the bit as Pillow's Image.resize does it: the filter widens
// with the reduction, weights have 22 fractional bits, rows are resampled before columns and rounded in
// between, an axis that keeps its size is left alone. Pictures with alpha are resampled premultiplied. Throws
// Error for a size under 1.
Picture resize_picture(const Picture& picture, int width, int height, ResizeFilter filter);

// Pillow's Image.thumbnail with Lanczos: the picture scaled down, never up, to fit width × height with its
// aspect kept; by four times or more it is first averaged over whole pixels down to no less than twice the
// final size.
Picture thumbnail(const Picture& picture, int width, int height);

}  // namespace eg4d
