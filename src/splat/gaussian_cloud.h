#pragma once

#include <vector>

#include "io/ply.h"
#include "splat/model.h"
#include "splat/renderer.h"

namespace eg4d {

// The canonical Gaussians as they are, in host memory; and back.
GaussianCloud to_cloud(const Gaussians& gaussians);
Gaussians from_cloud(Backend& backend, const GaussianCloud& cloud);

// A model at one moment as plain 3D Gaussians: the deformation at `time` in [0,1] applied, the colour affine
// baked into the SH coefficients. color = (1+gain)·sh + bias is linear in the coefficients, so that dc' =
// (1+gain)·dc + bias/Y00 and rest' = (1+gain)·rest are exact for any direction. Coefficients above the active
// degree are zero.
GaussianCloud cloud_at(Backend& backend, const Model& model, float time);

// Finite also for surfels, whose third scale is 0.
std::vector<float> logarithms_of_scales(std::vector<float> scales);

}  // namespace eg4d
