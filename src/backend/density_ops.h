#pragma once

// Device work of density control; the rules are those of splat_ops.h.

#include <cstdint>

namespace eg4d {

// Per visible Gaussian (radius > 0): gradient_sum += |d_means_ndc|, views += 1, max_radii = max(max_radii,
// radius).
struct DensityStatistics {
  int64_t count = 0;
  const float* d_means_ndc = nullptr;  // [N,2]
  const int32_t* radii = nullptr;      // [N]
  float* gradient_sum = nullptr;       // [N]
  float* views = nullptr;              // [N]
  float* max_radii = nullptr;          // [N]
};

// What becomes of a Gaussian, as bits; 0: it is removed.
enum DensityFate : uint8_t { kDensityKept = 1, kDensityCloned = 2, kDensitySplit = 4 };

// Each of the two parts of a split Gaussian has its scales divided by 1.6 (Kerbl et al. 2023, section 5.2).
inline constexpr float kSplitLogScale = 0.47000363f;  // log 1.6

// The rules of density control. Limits are compared with what is stored, logarithms of scales and logits of
// opacities, so that no decision hangs on the last bit of a device's exp; the one division is IEEE 754's.
// A Gaussian went astray when its position, a log scale, its quaternion or its logit is NaN or infinite:
// nothing shows it, and no gradient would bring it back. `size` is the largest of the three log scales.
// What a Gaussian is worth, `importance`, are sums over pictures and pixels, weighted by its share in the
// pixel's blend: of 1 (the pixels that it makes) and of the pixel's error (ErrorImage).
//   grows:   gradient_sum/views (0 without views) ≥ gradient, and not astray, and importance[1] ≥ least_error
//   cloned:  grows, size ≤ dense_size
//   split:   grows, size > dense_size, and is then smaller by kSplitLogScale
//   removed: (prune) astray, or opacity_logit < smallest_logit, or the new size > largest_size, or
//            max_radii > largest_radius, or importance[0] < least_weight
// The fate is kDensityKept, kDensityKept | kDensityCloned, kDensitySplit (both parts instead of it) or 0.
struct DecideDensity {
  int64_t count = 0;
  const float* positions = nullptr;       // [N,3]
  const float* log_scales = nullptr;      // [N,3]
  const float* quaternions = nullptr;     // [N,4]
  const float* opacity_logits = nullptr;  // [N]
  const float* gradient_sum = nullptr;    // [N], or null: nothing grows
  const float* views = nullptr;           // [N]
  float gradient = 0, dense_size = 0;
  bool prune = false;
  float smallest_logit = 0, largest_size = 0;
  const float* max_radii = nullptr;  // [N] pixels, or null: no limit
  float largest_radius = 0;
  const float* importance = nullptr;  // [N,3], of which two count; or null: all are worth it
  float least_error = 0, least_weight = 0;
  uint8_t* fates = nullptr;  // [N]
};

// Fates as a list of rows: those that are kept, those that are cloned, those that are split (for their first
// parts), those that are split (for their second parts), each in rising order. Where every Gaussian would be
// removed, the first is kept.
struct DensityRows {
  int64_t count = 0;
  const uint8_t* fates = nullptr;  // [N]
  int32_t* rows = nullptr;         // [2N], of which the first kept + cloned + 2·split are written
  int32_t* totals = nullptr;       // device [3]: kept, cloned, split
};

// Three normal numbers for each part of each of S Gaussians: the first three of Philox::normals(seed, stream,
// 2·rows[k] + part), whatever else is split and in whatever order.
struct SplitNoise {
  int64_t count = 0;              // S
  const int32_t* rows = nullptr;  // [S] the Gaussians' numbers before the change
  uint64_t seed = 0, stream = 0;
  float* normals = nullptr;  // [2,S,3]
};

// Gives parts of split Gaussians, which come as copies of them, their places and sizes:
//   position += R(quaternion/|quaternion|)·(exp(log_scale)·normal), log_scale -= kSplitLogScale
// A quaternion of zeros turns nothing, as in the renderer; where the place would be NaN or infinite, it
// stays. Computed in double precision on core/portable_math.h: the same bits on the devices that
// Philox::normals names.
struct SplitGaussians {
  int64_t count = 0;                   // parts
  const float* normals = nullptr;      // [count,3]
  const float* quaternions = nullptr;  // [count,4]
  float* positions = nullptr;          // [count,3]
  float* log_scales = nullptr;         // [count,3]
};

}  // namespace eg4d
