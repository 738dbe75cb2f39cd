#pragma once

#include "io/background_writer.h"
#include "io/image.h"
#include "nn/tensor.h"

namespace eg4d {

// A rendered image [H,W,3] with values in [0,1] as an 8-bit picture, rounded to nearest; what lies outside
// goes to the nearer end, NaN to 0.
Picture to_picture(const Tensor& image);

// The 8-bit RGB [H,W,3] of a training view.
Picture view_picture(const Tensor& picture);

// For PNGs that are written beside the work, in any order: a picture of 576×576 takes a thread 40 ms, a GPU
// 10 or less.
BackgroundWriter::Limits picture_writing();

// Two RGB pictures of one height, left and right.
Picture side_by_side(const Picture& left, const Picture& right);

}  // namespace eg4d
