#pragma once

#include "io/ply.h"

// SOG version 2 (PlayCanvas): a zip archive of meta.json and lossless WebP pictures, whose pixel i, row by
// row, is Gaussian i. Specification: developer.playcanvas.com/user-manual/gaussian-splatting/formats/sog.
// - means_l, means_u: low and high bytes of 16 bits of sign(x)·ln(1 + |x|) between the `mins` and `maxs`;
// - quats: the three smaller components, 255·(√2·q + 1)/2, and 252 + which of w x y z is the largest;
// - scales, sh0: codebooks of 256 log-scales, of 256 dc; opacity in the alpha of sh0;
// - shN (where there are harmonics): a palette of rows of coefficients, each a byte of a third codebook, 64
// rows
//   beside each other in the picture, and for each Gaussian its row in 16 bits.
namespace eg4d::splat {

struct SogOptions {
  int palette = 4096;   // rows of harmonics, 1 to 65536; the more, the closer and the larger
  int iterations = 10;  // of k-means for it
};

// Throws Error naming the file.
GaussianCloud decode_sog(Bytes file, const std::string& name);

// Atomic. Throws Error.
void write_sog(const std::filesystem::path& path, const GaussianCloud& cloud, const SogOptions& options);

}  // namespace eg4d::splat
