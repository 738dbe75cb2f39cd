#pragma once

#include "splat/gaussian_cloud.h"

namespace eg4d {

// PSNR in dB between pictures of a model at a time and of plain Gaussians in its axes, from six cameras
// around the object (every 60°, from 10° below to 40° above), of the training pictures' size, at most 512 a
// side; one mean over all pixels.
double psnr_beside_model(Backend& backend, const Model& model, float time, const GaussianCloud& cloud);

}  // namespace eg4d
