#include "picture/picture_resize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/threads.h"

namespace eg4d {
namespace {

constexpr int kPrecision = 32 - 8 - 2;  // fractional bits of a weight

double sinc(double x) {
  return x == 0 ? 1 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x);
}

double evaluate(ResizeFilter filter, double x) {
  if (filter == ResizeFilter::lanczos) return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// For every output index the first input index and the weights of the inputs from there on.
struct Weights {
  struct Window {
    int first = 0;
    std::vector<int32_t> weights;
  };
  std::vector<Window> windows;
};

// The stretch [0, extent) of `inputs` pixels is resampled to `outputs`.
Weights make_weights(int inputs, double extent, int outputs, ResizeFilter filter) {
  const double scale = extent / outputs;
  const double filter_scale = std::max(scale, 1.0);
  const double support = (filter == ResizeFilter::lanczos ? 3.0 : 2.0) * filter_scale;
  Weights result;
  for (int out = 0; out < outputs; ++out) {
    const double center = (out + 0.5) * scale;
    const int first = std::max(static_cast<int>(center - support + 0.5), 0);
    const int last = std::min(static_cast<int>(center + support + 0.5), inputs);
    std::vector<double> exact;
    double sum = 0;
    for (int i = first; i < last; ++i) {
      exact.push_back(evaluate(filter, (i - center + 0.5) / filter_scale));
      sum += exact.back();
    }
    Weights::Window window{first, {}};
    for (double weight : exact) {
      if (sum != 0) weight /= sum;
      window.weights.push_back(static_cast<int32_t>(weight * (1 << kPrecision) + (weight < 0 ? -0.5 : 0.5)));
    }
    result.windows.push_back(std::move(window));
  }
  return result;
}

// Resamples one axis. A picture is `lines` independent lines of `inputs` positions; consecutive positions are
// `stride` bytes apart and each holds `stride` bytes to resample alike when the axis is vertical, one pixel
// when horizontal.
void resample(const uint8_t* in, uint8_t* out, int64_t lines, int inputs, int64_t stride,
              const Weights& weights) {
  const int64_t outputs = static_cast<int64_t>(weights.windows.size());
  constexpr int64_t kBytes = 2048;  // that a thread makes at a time
  parallel_for(lines * outputs, kBytes / stride, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const auto& window = weights.windows[item % outputs];
      const uint8_t* source = in + (item / outputs * inputs + window.first) * stride;
      for (int64_t byte = 0; byte < stride; ++byte) {
        int32_t sum = 1 << (kPrecision - 1);
        for (size_t k = 0; k < window.weights.size(); ++k)
          sum += source[k * stride + byte] * window.weights[k];
        out[item * stride + byte] = static_cast<uint8_t>(std::clamp(sum >> kPrecision, 0, 255));
      }
    }
  });
}

// The stretch [0, extent_x) × [0, extent_y) of the picture, resampled.
Picture resample_stretch(const Picture& picture, double extent_x, double extent_y, int width, int height,
                         ResizeFilter filter) {
  Picture across = picture;
  if (width != picture.width || extent_x != picture.width) {
    across = Picture(width, picture.height, picture.channels);
    resample(picture.data.data(), across.data.data(), picture.height, picture.width, picture.channels,
             make_weights(picture.width, extent_x, width, filter));
  }
  if (height == picture.height && extent_y == picture.height) return across;
  Picture result(width, height, picture.channels);
  resample(across.data.data(), result.data.data(), 1, picture.height, int64_t{width} * picture.channels,
           make_weights(picture.height, extent_y, height, filter));
  return result;
}

bool has_alpha(const Picture& picture) {
  return picture.channels == 2 || picture.channels == 4;
}

void premultiply(Picture& picture) {
  const int alpha = picture.channels - 1;
  for (size_t p = 0; p < picture.data.size(); p += picture.channels)
    for (int c = 0; c < alpha; ++c) {
      const int product = picture.data[p + c] * picture.data[p + alpha];
      picture.data[p + c] = static_cast<uint8_t>((2 * product + 255) / 510);
    }
}

void unpremultiply(Picture& picture) {
  const int alpha = picture.channels - 1;
  for (size_t p = 0; p < picture.data.size(); p += picture.channels) {
    const int a = picture.data[p + alpha];
    if (a == 0 || a == 255) continue;
    for (int c = 0; c < alpha; ++c)
      picture.data[p + c] = static_cast<uint8_t>(std::min(255 * picture.data[p + c] / a, 255));
  }
}

// Means over factor_x × factor_y pixels; what is left over at the right and bottom edge is averaged as it is.
// The division is by a truncated 24-bit reciprocal.
Picture average_down(const Picture& picture, int factor_x, int factor_y) {
  Picture result((picture.width + factor_x - 1) / factor_x, (picture.height + factor_y - 1) / factor_y,
                 picture.channels);
  for (int y = 0; y < result.height; ++y) {
    const int rows = std::min(factor_y, picture.height - y * factor_y);
    for (int x = 0; x < result.width; ++x) {
      const int columns = std::min(factor_x, picture.width - x * factor_x);
      const uint32_t reciprocal = (1u << 24) / static_cast<uint32_t>(rows * columns);
      for (int c = 0; c < picture.channels; ++c) {
        uint32_t sum = static_cast<uint32_t>(rows * columns / 2);
        for (int dy = 0; dy < rows; ++dy)
          for (int dx = 0; dx < columns; ++dx)
            sum += picture.data[((y * factor_y + dy) * size_t(picture.width) + x * factor_x + dx) *
                                    picture.channels +
                                c];
        result.data[(y * size_t(result.width) + x) * result.channels + c] =
            static_cast<uint8_t>((uint64_t{sum} * reciprocal) >> 24);
      }
    }
  }
  return result;
}

// Of floor(exact) and ceil(exact) the one whose aspect is nearer, at least 1.
template <class AspectError>
int nearer_side(double exact, AspectError error) {
  const int low = static_cast<int>(std::floor(exact)), high = static_cast<int>(std::ceil(exact));
  return std::max(error(high) < error(low) ? high : low, 1);
}

}  // namespace

Picture resize_picture(const Picture& picture, int width, int height, ResizeFilter filter) {
  if (width < 1 || height < 1 || picture.width < 1 || picture.height < 1)
    throw Error(fmt::format("cannot resize a picture of {}×{} to {}×{}: every side needs at least one pixel",
                            picture.width, picture.height, width, height));
  if (width == picture.width && height == picture.height) return picture;
  if (!has_alpha(picture))
    return resample_stretch(picture, picture.width, picture.height, width, height, filter);
  Picture premultiplied = picture;
  premultiply(premultiplied);
  Picture result = resample_stretch(premultiplied, picture.width, picture.height, width, height, filter);
  unpremultiply(result);
  return result;
}

Picture thumbnail(const Picture& picture, int width, int height) {
  if (width >= picture.width && height >= picture.height) return picture;
  const double aspect = static_cast<double>(picture.width) / picture.height;
  if (static_cast<double>(width) / height >= aspect) {
    const int y = height;
    width = nearer_side(y * aspect, [&](int n) { return std::abs(aspect - static_cast<double>(n) / y); });
  } else {
    const int x = width;
    height = nearer_side(x / aspect,
                         [&](int n) { return n == 0 ? 0 : std::abs(aspect - static_cast<double>(x) / n); });
  }
  constexpr double gap = 2;
  const int factor_x = std::max(static_cast<int>(picture.width / static_cast<double>(width) / gap), 1);
  const int factor_y = std::max(static_cast<int>(picture.height / static_cast<double>(height) / gap), 1);
  if (has_alpha(picture) || (factor_x == 1 && factor_y == 1))
    return resize_picture(picture, width, height, ResizeFilter::lanczos);
  return resample_stretch(
      average_down(picture, factor_x, factor_y), static_cast<double>(picture.width) / factor_x,
      static_cast<double>(picture.height) / factor_y, width, height, ResizeFilter::lanczos);
}

}  // namespace eg4d
