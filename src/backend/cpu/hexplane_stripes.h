#pragma once

// How the regularisers divide the hexplane: their differences run along the rows of a plane, so stripes of
// columns are independent of one another.

#include <cstdint>
#include <vector>

#include "backend/splat_ops.h"

namespace eg4d::cpu {

struct HexPlaneStripe {
  int64_t offset = 0;  // of its first float in the grid
  int64_t stride = 0;  // floats from row to row
  int rows = 0;
  int64_t width = 0;  // floats in a row, at most kWidth
  bool time = false;  // of a plane with time
  // d(weighted regulariser)/d(value) = smoothness·(e[r] - 2·e[r-1] + e[r-2]) + l1·sign(value-1), with the
  // second differences e[r] = p[r] - 2·p[r+1] + p[r+2].
  float smoothness = 0, l1 = 0;
  // One part of the mean that each squared second difference and each |1-value| is.
  double smoothness_share = 0, l1_share = 0;

  static constexpr int64_t kWidth = 8192;
};

// All planes, largest stripes first so that threads finish together; weights of the regularisers as in
// HexPlaneAdam. A stripe is at most `widest` floats wide; the
// regularisers' values are sums over stripes, whose order depends on it.
std::vector<HexPlaneStripe> hexplane_stripes(const HexPlaneLayout& layout, float plane_smoothness,
                                             float time_smoothness, float time_l1,
                                             int64_t widest = HexPlaneStripe::kWidth);

}  // namespace eg4d::cpu
