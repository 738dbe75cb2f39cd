#pragma once

namespace eg4d::cpu {

// Mean SSIM (Wang et al. 2004) of two images [height,width,3] as ImageLoss defines it. Its derivative with
// respect to a, times `weight`, is added to d_a unless that is null.
double ssim(const float* a, const float* b, int width, int height, float weight, float* d_a);

}  // namespace eg4d::cpu
