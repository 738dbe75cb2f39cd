#pragma once

#include "io/image.h"

namespace eg4d {

// Pictures must have more pixels a side than this: the window must fit at the coarsest of five scales.
inline constexpr int kMsSsimSide = 160;

// The structural similarity at five scales of two RGB pictures of one size (Wang, Simoncelli and Bovik 2003):
// weights 0.0448, 0.2856, 0.3001, 0.2363, 0.1333; a Gaussian window of 11 pixels and deviation 1.5 without
// padding; K = 0.01 and 0.03; contrast and structure alone (not below 0) at all scales but the coarsest;
// means of 2×2 pixels between scales, where an odd side gets a zero at both ends, as the PyTorch package that
// 4DGaussians measures with does it; then the mean of the three channels. 1 for equal pictures. D-SSIM is
// (1 - this)/2. Throws Error for pictures that are too small.
double ms_ssim(const Picture& a, const Picture& b);

}  // namespace eg4d
