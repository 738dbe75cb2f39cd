#pragma once

#include "formats/splat_sequence.h"

namespace eg4d::splat {

// `.splatv`, as the MIT-licensed viewer antimatter15/splaTV reads it: magic 0x674b and the size of a JSON
// text in two uint32; the text, a list with one chunk "splat" (its size, texwidth 4096, texheight, cameras);
// then a texture of four uint32 a pixel, four pixels a Gaussian: floats x y z, and halves: quaternion w x y
// z, scales (not logarithms), then 4 bytes of colour and opacity, nine coefficients of motion (x y z of dt,
// dt², dt³), the quaternion's change per dt, and the centre and width of its time: dt = time - centre, and
// its opacity is that at the centre times exp(-(dt/width)²).
//
// A moving Gaussian is fitted: a cubic for its position, a line for its quaternion, means for what else
// changes. Returns the root mean square error of the positions. In Morton order. Atomic. Throws Error.
double write_splatv(const std::filesystem::path& path, const SplatSequence& sequence);

}  // namespace eg4d::splat
