#pragma once

#include "io/ply.h"

// `.spz` (Niantic), as its MIT-licensed library describes and reads it (nianticlabs/spz, README.md and
// src/cc/load-spz.cc). A header of 16 bytes (magic NGSP, version, number of Gaussians, SH degree, fractional
// bits, flags, reserved), then one array after the other, gzipped as a whole; version 4: a header of 32
// bytes, a table of sizes, and each array as a frame of Zstandard.
// - positions: 24 bits each, two's complement, with that many fractional bits;
// - opacities: 8 bits; colours: dc·0.15 + 0.5 in 8 bits; log-scales: (s + 10)·16 in 8 bits;
// - rotations: 2 bits, which of x y z w is the largest, then for each other its sign and 9 bits of its
//   magnitude up to 1/√2 (versions 1 and 2: x y z in 8 bits each, w being positive);
// - harmonics: 128 + 128·coefficient in 8 bits, coefficient by coefficient, the three colours of each.
// The axes are x right, y up, z to the viewer.
namespace eg4d::splat {

struct SpzOptions {
  int version = 3;          // or 4
  int sh_bits = 8;          // of a coefficient of harmonics, 1 to 8: fewer compress better
  float largest_error = 0;  // of a position; 0: an 8192th of the largest coordinate
};

// Versions 1 to 4; harmonics above degree 3 are left out. A file that was written in other axes (extension
// SPZ_ADOBE_coordinate_system) is read as it stands. Throws Error naming the file.
GaussianCloud decode_spz(Bytes file, const std::string& name);
int spz_version(Bytes file);  // 0 when the file is damaged

// In Morton order, which compresses well. Atomic. Throws Error.
void write_spz(const std::filesystem::path& path, const GaussianCloud& cloud, const SpzOptions& options);

}  // namespace eg4d::splat
