#include "picture/ms_ssim.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/error.h"

namespace eg4d {
namespace {

constexpr int kWindow = 11, kCenter = kWindow / 2, kScales = 5;
constexpr double kDeviation = 1.5, kC1 = 0.01 * 0.01, kC2 = 0.03 * 0.03;
constexpr std::array<double, kScales> kWeights = {0.0448, 0.2856, 0.3001, 0.2363, 0.1333};

// One channel.
struct Plane {
  int width = 0, height = 0;
  std::vector<double> values;
  Plane(int w, int h) : width(w), height(h), values(static_cast<size_t>(w) * static_cast<size_t>(h)) {}
  double* row(int y) { return values.data() + static_cast<size_t>(y) * static_cast<size_t>(width); }
  const double* row(int y) const {
    return values.data() + static_cast<size_t>(y) * static_cast<size_t>(width);
  }
};

const std::array<double, kWindow>& window() {
  static const std::array<double, kWindow> weights = [] {
    std::array<double, kWindow> result{};
    double sum = 0;
    for (int i = 0; i < kWindow; ++i) {
      const double d = i - kCenter;
      sum += result[static_cast<size_t>(i)] = std::exp(-d * d / (2 * kDeviation * kDeviation));
    }
    for (double& weight : result) weight /= sum;
    return result;
  }();
  return weights;
}

// The window's means, where it fits; `of(y, x)` is what they are taken of.
template <class Of>
Plane blurred(int width, int height, const Of& of) {
  const auto& weights = window();
  const int out_width = width - kWindow + 1, out_height = height - kWindow + 1;
  Plane rows(out_width, height), result(out_width, out_height);
  std::vector<double> line(static_cast<size_t>(width));
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) line[static_cast<size_t>(x)] = of(y, x);
    double* to = rows.row(y);
    for (size_t k = 0; k < kWindow; ++k)
      for (int x = 0; x < out_width; ++x) to[x] += weights[k] * line[static_cast<size_t>(x) + k];
  }
  for (int y = 0; y < out_height; ++y)
    for (int k = 0; k < kWindow; ++k) {
      const double* from = rows.row(y + k);
      double* to = result.row(y);
      for (int x = 0; x < out_width; ++x) to[x] += weights[static_cast<size_t>(k)] * from[x];
    }
  return result;
}

struct Similarity {
  double whole = 0, contrast = 0;  // means over the picture
};

Similarity similarity(const Plane& a, const Plane& b) {
  const auto mean_of = [&](const auto& of) { return blurred(a.width, a.height, of); };
  const Plane mean_a = mean_of([&](int y, int x) { return a.row(y)[x]; }),
              mean_b = mean_of([&](int y, int x) { return b.row(y)[x]; }),
              square_a = mean_of([&](int y, int x) { return a.row(y)[x] * a.row(y)[x]; }),
              square_b = mean_of([&](int y, int x) { return b.row(y)[x] * b.row(y)[x]; }),
              product = mean_of([&](int y, int x) { return a.row(y)[x] * b.row(y)[x]; });
  Similarity sum;
  const size_t count = mean_a.values.size();
  for (size_t i = 0; i < count; ++i) {
    const double ma = mean_a.values[i], mb = mean_b.values[i];
    const double variances = square_a.values[i] - ma * ma + square_b.values[i] - mb * mb;
    const double contrast = (2 * (product.values[i] - ma * mb) + kC2) / (variances + kC2);
    sum.contrast += contrast;
    sum.whole += contrast * (2 * ma * mb + kC1) / (ma * ma + mb * mb + kC1);
  }
  return {sum.whole / static_cast<double>(count), sum.contrast / static_cast<double>(count)};
}

Plane halved(const Plane& plane) {
  const int pad_x = plane.width % 2, pad_y = plane.height % 2;
  Plane half((plane.width + 2 * pad_x) / 2, (plane.height + 2 * pad_y) / 2);
  for (int y = 0; y < plane.height; ++y)
    for (int x = 0; x < plane.width; ++x) half.row((y + pad_y) / 2)[(x + pad_x) / 2] += plane.row(y)[x] / 4;
  return half;
}

Plane channel(const Picture& picture, size_t c) {
  Plane plane(picture.width, picture.height);
  for (size_t i = 0; i < plane.values.size(); ++i) plane.values[i] = picture.data[3 * i + c] / 255.0;
  return plane;
}

}  // namespace

double ms_ssim(const Picture& a, const Picture& b) {
  if (std::min(a.width, a.height) <= kMsSsimSide)
    throw Error(fmt::format("MS-SSIM needs pictures of more than {} pixels a side", kMsSsimSide));
  double mean = 0;
  for (size_t c = 0; c < 3; ++c) {
    Plane x = channel(a, c), y = channel(b, c);
    double product = 1;
    for (int scale = 0; scale < kScales; ++scale) {
      if (scale > 0) {
        x = halved(x);
        y = halved(y);
      }
      const Similarity found = similarity(x, y);
      const double value = scale + 1 < kScales ? found.contrast : found.whole;
      product *= std::pow(std::max(value, 0.0), kWeights[static_cast<size_t>(scale)]);
    }
    mean += product / 3;
  }
  return mean;
}

}  // namespace eg4d
