#pragma once

#include "io/ply.h"

// `.splat`, as the MIT-licensed viewer antimatter15/splat reads it (convert.py there writes it): 32 bytes for
// each Gaussian and nothing else. Floats x y z and the three scales (not their logarithms), bytes red green
// blue opacity, and the unit quaternion w x y z, each byte 128 + 128·component. Colours are those of degree
// 0.
namespace eg4d::splat {

inline constexpr size_t kSplatBytes = 32;

GaussianCloud decode_splat(Bytes file, const std::string& name);

// The largest and most opaque first: viewers show a file while it loads. Atomic. Throws Error.
void write_splat(const std::filesystem::path& path, const GaussianCloud& cloud);

// The bytes of row `i`.
void append_splat(std::string& to, const GaussianCloud& cloud, size_t i);

}  // namespace eg4d::splat
