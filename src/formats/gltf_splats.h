#pragma once

#include "io/ply.h"

namespace eg4d::splat {

// GLB (glTF 2.0) with KHR_gaussian_splatting as ratified in 2026: one mesh primitive of POINTS with POSITION,
// ROTATION (x y z w), SCALE (not its logarithm), OPACITY, SH_DEGREE_l_COEF_n, all in floats; kernel
// "ellipse", colours "srgb_rec709_display". COLOR_0 is for programs that show points. glTF's axes: y is up.
// Nothing is lost but what floats round. Atomic. Throws Error.
void write_gltf_splats(const std::filesystem::path& path, const GaussianCloud& cloud);

}  // namespace eg4d::splat
