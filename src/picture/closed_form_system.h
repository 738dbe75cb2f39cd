#pragma once

#include <vector>

#include "picture/alpha_matting.h"

namespace eg4d {

// Solves (L + λ·K)·α = λ·K·t by conjugate gradients, from `guess` until the residual is `tolerance` of the
// right-hand side: L is the matting Laplacian of windows of 3×3 pixels (Levin et al. 2008, equation 12), K
// marks the pixels that the trimap knows, t is 1 for the object there. rgb: [height,width,3] in [0,1].
std::vector<double> solve_closed_form(int width, int height, const std::vector<double>& rgb,
                                      const std::vector<Trimap>& trimap, std::vector<double> guess,
                                      double tolerance);

}  // namespace eg4d
