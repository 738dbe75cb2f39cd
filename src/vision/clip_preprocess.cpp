#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "picture/resampling.h"
#include "vision/clip_image.h"

namespace eg4d {
namespace {

constexpr int64_t kChannels = 3;

int64_t reflect(int64_t i, int64_t count) {
  if (count == 1) return 0;
  const int64_t period = 2 * (count - 1);
  i = ((i % period) + period) % period;
  return std::min(i, period - i);
}

// sigma = (in/out - 1)/2, over an odd number of pixels of about 4·sigma.
Resampling gaussian(int64_t in, int64_t out) {
  const double factor = static_cast<double>(in) / static_cast<double>(out);
  const double sigma = std::max((factor - 1) / 2, 0.001);
  const int64_t taps = static_cast<int64_t>(std::max(4 * sigma, 3.0)) | 1;
  std::vector<double> kernel(static_cast<size_t>(taps));
  const int64_t middle = taps / 2;
  double sum = 0;
  for (int64_t k = 0; k < taps; ++k) {
    const double x = static_cast<double>(k - middle);
    sum += kernel[static_cast<size_t>(k)] = std::exp(-x * x / (2 * sigma * sigma));
  }
  Resampling r{in, in, taps, {}, {}};
  for (int64_t i = 0; i < in; ++i)
    for (int64_t k = 0; k < taps; ++k) {
      r.index.push_back(reflect(i + k - taps / 2, in));
      r.weight.push_back(static_cast<float>(kernel[static_cast<size_t>(k)] / sum));
    }
  return r;
}

}  // namespace

std::vector<float> clip_preprocess(std::span<const float> picture, int64_t height, int64_t width,
                                   int64_t size) {
  if (height < 1 || width < 1 || size < 1 ||
      picture.size() != static_cast<size_t>(height * width * kChannels))
    throw Error(fmt::format("a picture of {}×{} with {} numbers cannot be prepared for the image embedder",
                            width, height, picture.size()));
  std::vector<float> x(picture.begin(), picture.end());
  if (height > size || width > size) {
    x = resample_columns(x, gaussian(width, size), kChannels);
    x = resample_rows(x, gaussian(height, size), width * kChannels);
  }
  x = resample_rows(x, bicubic_resampling(height, size, true), width * kChannels);
  x = resample_columns(x, bicubic_resampling(width, size, true), kChannels);
  for (size_t i = 0; i < x.size(); ++i) x[i] = ((x[i] + 1) / 2 - kClipMean[i % 3]) / kClipDeviation[i % 3];
  return x;
}

}  // namespace eg4d
