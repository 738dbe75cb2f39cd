#pragma once

#include "formats/splat_sequence.h"

namespace eg4d::splat {

// `.usda`: a text of OpenUSD (26.03 or newer) with one ParticleField3DGaussianSplat (schema UsdVol), its
// attributes sampled at the frames; those that never change are told once. Scales and opacities are plain,
// not logarithm and logit; quaternions w x y z; harmonics of a Gaussian one after the other. `up`: 'Y' or
// 'Z'. Nothing is lost. Asks for each frame once for each attribute. Atomic. Throws Error.
void write_usd_splats(const std::filesystem::path& path, const SplatSequence& sequence, char up);

}  // namespace eg4d::splat
