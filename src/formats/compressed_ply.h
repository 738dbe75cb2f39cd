#pragma once

#include "io/ply.h"

// The compressed PLY of SuperSplat and PlayCanvas. As documented by the MIT-licensed sources of
// @playcanvas/splat-transform 2.7.1, which read and write it:
// - element chunk, one row per 256 Gaussians: 18 floats, min and max of x y z, of the log-scales, and of the
//   colours 0.5 + Y00·dc (files of before 2025 have 12: colours are then in [0,1]);
// - element vertex: 4 uints. packed_position and packed_scale: 11, 10, 11 bits of x, y, z from the top, a
//   share of the chunk's range; packed_rotation: 2 bits, which of w x y z is the largest, and the others in
//   10 bits each, [-1/√2, 1/√2]; packed_color: 8 bits each of red, green, blue (share of the range) and
//   opacity;
// - element sh, where there are harmonics: 9, 24 or 45 bytes f_rest_i, of [-4,4], channel after channel.
namespace eg4d::splat {

bool is_compressed_ply(Bytes file);
// Throws Error naming the file.
GaussianCloud decode_compressed_ply(Bytes file, const std::string& name);

// In Morton order; harmonics as far as the cloud has any. Atomic. Throws Error.
void write_compressed_ply(const std::filesystem::path& path, const GaussianCloud& cloud);

}  // namespace eg4d::splat
