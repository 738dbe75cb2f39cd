#pragma once

#include "formats/splat_sequence.h"

namespace eg4d::splat {

// `.splat4d` version 1 (MIT-licensed: adamraudonis/splats4D, docs/FORMAT.md; where that is silent or differs,
// its converter and viewer, which agree: each stream of the static section, too, begins with an attribute and
// a kind (2), and the header has "denoised"). Frames of `.splat` whose every value is within a bound of the
// original: magic SP4D, version, flags, a JSON header with bounds, steps and byte ranges; a static section
// (five bit masks of what stands still, the values of everything at the first frame); chunks of frames, each
// with the dynamic values of its first frame and the changes from frame to frame, as integers, zigzag, byte
// plane by byte plane, in Zstandard.
struct Splat4dOptions {
  double position_bound = 0;  // scene units, per axis; 0: a 8192th of the largest coordinate
  double scale_bound = 0.02;  // relative, per axis
  int colour_bound = 2;       // of 255, per channel
  int opacity_bound = 2;      // of 255
  int rotation_bound = 0;     // of 128, per component
  int frames_per_chunk = 30;
};

// Colours are those of degree 0. Atomic. Throws Error.
void write_splat4d(const std::filesystem::path& path, const SplatSequence& sequence,
                   const Splat4dOptions& options);

}  // namespace eg4d::splat
