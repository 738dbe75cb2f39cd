#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/threads.h"
#include "diffusion/clip_image.h"

namespace eg4d {
namespace {

constexpr int64_t kChannels = 3;

// A weighted sum of `taps` rows of a picture, for every output row; the same along columns after a
// transposition.
struct Resampling {
  int64_t in = 0, out = 0, taps = 0;
  std::vector<int64_t> index;  // [out,taps]
  std::vector<float> weight;   // [out,taps]
};

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

// Keys' cubic convolution with A = -0.75; outside the border its pixel is repeated.
Resampling bicubic(int64_t in, int64_t out) {
  constexpr float a = -0.75f;
  const auto near = [](float x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
  const auto far = [](float x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
  const float scale = out > 1 ? static_cast<float>(in - 1) / static_cast<float>(out - 1) : 0;
  Resampling r{in, out, 4, {}, {}};
  for (int64_t i = 0; i < out; ++i) {
    const float position = scale * static_cast<float>(i);
    const float whole = std::floor(position), t = position - whole;
    for (int64_t k = -1; k <= 2; ++k)
      r.index.push_back(std::clamp<int64_t>(static_cast<int64_t>(whole) + k, 0, in - 1));
    for (const float w : {far(t + 1), near(t), near(1 - t), far(2 - t)}) r.weight.push_back(w);
  }
  return r;
}

// [in,row] → [out,row]
std::vector<float> along_rows(const std::vector<float>& x, const Resampling& r, int64_t row) {
  std::vector<float> y(static_cast<size_t>(r.out * row));
  parallel_for(r.out, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* to = y.data() + i * row;
      for (int64_t k = 0; k < r.taps; ++k) {
        const float weight = r.weight[static_cast<size_t>(i * r.taps + k)];
        const float* from = x.data() + r.index[static_cast<size_t>(i * r.taps + k)] * row;
        for (int64_t c = 0; c < row; ++c) to[c] += weight * from[c];
      }
    }
  });
  return y;
}

// [rows,in,3] → [rows,out,3]
std::vector<float> along_columns(const std::vector<float>& x, const Resampling& r) {
  const int64_t rows = static_cast<int64_t>(x.size()) / (r.in * kChannels);
  std::vector<float> y(static_cast<size_t>(rows * r.out * kChannels));
  parallel_for(rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* from = x.data() + row * r.in * kChannels;
      float* to = y.data() + row * r.out * kChannels;
      for (int64_t i = 0; i < r.out * r.taps; ++i) {
        const float* pixel = from + r.index[static_cast<size_t>(i)] * kChannels;
        float* sum = to + i / r.taps * kChannels;
        for (int64_t c = 0; c < kChannels; ++c) sum[c] += r.weight[static_cast<size_t>(i)] * pixel[c];
      }
    }
  });
  return y;
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
    x = along_columns(x, gaussian(width, size));
    x = along_rows(x, gaussian(height, size), width * kChannels);
  }
  x = along_rows(x, bicubic(height, size), width * kChannels);
  x = along_columns(x, bicubic(width, size));
  for (size_t i = 0; i < x.size(); ++i) x[i] = ((x[i] + 1) / 2 - kClipMean[i % 3]) / kClipDeviation[i % 3];
  return x;
}

}  // namespace eg4d
