#pragma once

// Resampling of float pictures on the host, as PyTorch does it, for what networks take and give.

#include <cstdint>
#include <vector>

namespace eg4d {

// A weighted sum of `taps` rows or columns of a picture, for every one that comes out.
struct Resampling {
  int64_t in = 0, out = 0, taps = 0;
  std::vector<int64_t> index;  // [out,taps]
  std::vector<float> weight;   // [out,taps]
};

// Keys' cubic convolution with A = -0.75 and without antialiasing; outside the border its pixel is repeated.
// Pixel centres at half pixels, or with align_corners so that the corners' centres fall on each other.
Resampling bicubic_resampling(int64_t in, int64_t out, bool align_corners);

// [in,row] → [out,row]
std::vector<float> resample_rows(const std::vector<float>& x, const Resampling& r, int64_t row);
// [rows,in,channels] → [rows,out,channels]
std::vector<float> resample_columns(const std::vector<float>& x, const Resampling& r, int64_t channels);

}  // namespace eg4d
