#include "picture/closed_form_system.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/threads.h"

namespace eg4d {
namespace {

constexpr double kEpsilon = 1e-7;    // keeps a window's covariance invertible
constexpr double kConstraint = 100;  // λ
constexpr double kWindow = 9;        // pixels of a window
constexpr int kMaxSteps = 2000;

using Color = std::array<double, 3>;

// Symmetric 3×3: 00 01 02 11 12 22.
using Symmetric = std::array<double, 6>;

Symmetric inverse(const Symmetric& m) {
  const double a = m[3] * m[5] - m[4] * m[4], b = m[2] * m[4] - m[1] * m[5], c = m[1] * m[4] - m[2] * m[3];
  const double scale = 1 / (m[0] * a + m[1] * b + m[2] * c);
  return {a * scale,
          b * scale,
          c * scale,
          (m[0] * m[5] - m[2] * m[2]) * scale,
          (m[1] * m[2] - m[0] * m[4]) * scale,
          (m[0] * m[3] - m[1] * m[1]) * scale};
}

Color product(const Symmetric& m, const Color& v) {
  return {m[0] * v[0] + m[1] * v[1] + m[2] * v[2], m[1] * v[0] + m[3] * v[1] + m[4] * v[2],
          m[2] * v[0] + m[4] * v[1] + m[5] * v[2]};
}

// L without its matrix: in every window, p is fitted by an affine function of the colour, and L·p is what the
// fits leave over (He et al., "Guided image filtering", 2013, section 3.5). Windows of which every pixel is
// known are left out, and with them the pixels that are in no other: L has nothing there. Vectors hold the
// remaining pixels only, in the picture's order.
class Laplacian {
 public:
  Laplacian(int width, int height, const std::vector<double>& rgb, const std::vector<Trimap>& trimap) {
    const auto row = static_cast<size_t>(width);
    const auto each_of = [&](size_t middle, const auto& body) {
      for (size_t i = 0; i < 9; ++i) body(i, middle + i / 3 * row + i % 3 - row - 1);
    };
    std::vector<size_t> middles;
    std::vector<int32_t> place(trimap.size(), kNone);
    for (int y = 1; y + 1 < height; ++y)
      for (int x = 1; x + 1 < width; ++x) {
        const size_t middle = static_cast<size_t>(y) * row + static_cast<size_t>(x);
        bool known = true;
        each_of(middle, [&](size_t, size_t i) { known = known && trimap[i] != Trimap::unknown; });
        if (known) continue;
        middles.push_back(middle);
        each_of(middle, [&](size_t, size_t i) { place[i] = 0; });
      }
    for (size_t i = 0; i < place.size(); ++i) {
      if (place[i] == kNone) continue;
      place[i] = static_cast<int32_t>(pixels_.size());
      pixels_.push_back(i);
      colors_.push_back({rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]});
    }
    windows_.resize(middles.size());
    fits_.resize(middles.size());
    windows_of_.assign(pixels_.size(), kNoWindows);
    for (size_t k = 0; k < middles.size(); ++k)
      each_of(middles[k], [&](size_t i, size_t pixel) {
        windows_[k].pixels[i] = place[pixel];
        windows_of_[static_cast<size_t>(place[pixel])][i] = static_cast<int32_t>(k);
      });
    each(windows_.size(), [&](size_t k) { prepare(windows_[k]); });
  }

  const std::vector<size_t>& pixels() const { return pixels_; }  // their places in the picture

  // The diagonal, for the preconditioner.
  std::vector<double> diagonal() const {
    std::vector<double> result(pixels_.size());
    each(pixels_.size(), [&](size_t i) {
      for (const int32_t k : windows_of_[i]) {
        if (k == kNone) continue;
        const Window& window = windows_[static_cast<size_t>(k)];
        const Color d = difference(i, window), m = product(window.inverse, d);
        result[i] += 1 - (1 + d[0] * m[0] + d[1] * m[1] + d[2] * m[2]) / kWindow;
      }
    });
    return result;
  }

  void multiply(const std::vector<double>& p, std::vector<double>& result) {
    each(windows_.size(), [&](size_t k) { fits_[k] = fit(windows_[k], p); });
    each(pixels_.size(), [&](size_t i) {
      double sum = 0;
      for (const int32_t k : windows_of_[i]) {
        if (k == kNone) continue;
        const Color d = difference(i, windows_[static_cast<size_t>(k)]);
        const Fit& f = fits_[static_cast<size_t>(k)];
        sum += p[i] - f.mean - (f.slope[0] * d[0] + f.slope[1] * d[1] + f.slope[2] * d[2]);
      }
      result[i] = sum;
    });
  }

 private:
  static constexpr int32_t kNone = -1;
  static constexpr std::array<int32_t, 9> kNoWindows = {kNone, kNone, kNone, kNone, kNone,
                                                        kNone, kNone, kNone, kNone};
  struct Window {
    std::array<int32_t, 9> pixels{};
    Color mean{};
    Symmetric inverse{};  // of the covariance
  };
  struct Fit {
    Color slope{};
    double mean = 0;
  };

  template <class Body>
  static void each(size_t count, const Body& body) {
    constexpr int64_t kGrain = 2048;
    parallel_for(static_cast<int64_t>(count), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) body(static_cast<size_t>(i));
    });
  }
  Color difference(size_t pixel, const Window& window) const {
    const Color& color = colors_[pixel];
    return {color[0] - window.mean[0], color[1] - window.mean[1], color[2] - window.mean[2]};
  }

  void prepare(Window& window) const {
    for (const int32_t i : window.pixels)
      for (size_t c = 0; c < 3; ++c) window.mean[c] += colors_[static_cast<size_t>(i)][c] / kWindow;
    Symmetric covariance{};
    for (const int32_t i : window.pixels) {
      const Color d = difference(static_cast<size_t>(i), window);
      covariance[0] += d[0] * d[0] / kWindow;
      covariance[1] += d[0] * d[1] / kWindow;
      covariance[2] += d[0] * d[2] / kWindow;
      covariance[3] += d[1] * d[1] / kWindow;
      covariance[4] += d[1] * d[2] / kWindow;
      covariance[5] += d[2] * d[2] / kWindow;
    }
    for (const size_t diagonal : {0, 3, 5}) covariance[diagonal] += kEpsilon / kWindow;
    window.inverse = eg4d::inverse(covariance);
  }

  Fit fit(const Window& window, const std::vector<double>& p) const {
    Color along{};
    double sum = 0;
    for (const int32_t index : window.pixels) {
      const auto i = static_cast<size_t>(index);
      const Color d = difference(i, window);
      for (size_t c = 0; c < 3; ++c) along[c] += d[c] * p[i];
      sum += p[i];
    }
    for (double& value : along) value /= kWindow;
    return {product(window.inverse, along), sum / kWindow};
  }

  std::vector<size_t> pixels_;
  std::vector<Color> colors_;
  std::vector<Window> windows_;
  std::vector<Fit> fits_;
  std::vector<std::array<int32_t, 9>> windows_of_;  // of each pixel, by its place in them
};

// Σ a·b, in parts whose bounds and order depend on the length alone.
double dot(const std::vector<double>& a, const std::vector<double>& b) {
  constexpr int64_t kGrain = 1 << 14;
  const auto count = static_cast<int64_t>(a.size());
  std::vector<double> parts(static_cast<size_t>((count + kGrain - 1) / kGrain));
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    double sum = 0;
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) sum += a[i] * b[i];
    parts[static_cast<size_t>(begin / kGrain)] = sum;
  });
  double sum = 0;
  for (const double part : parts) sum += part;
  return sum;
}

}  // namespace

std::vector<double> solve_closed_form(int width, int height, const std::vector<double>& rgb,
                                      const std::vector<Trimap>& trimap, std::vector<double> guess,
                                      double tolerance) {
  Laplacian laplacian(width, height, rgb, trimap);
  const std::vector<size_t>& pixels = laplacian.pixels();
  const size_t count = pixels.size();
  std::vector<double> x(count), known(count), right(count), preconditioner = laplacian.diagonal();
  for (size_t i = 0; i < count; ++i) {
    const Trimap kind = trimap[pixels[i]];
    x[i] = guess[pixels[i]];
    known[i] = kind == Trimap::unknown ? 0 : kConstraint;
    right[i] = kind == Trimap::foreground ? kConstraint : 0;
    const double diagonal = preconditioner[i] + known[i];
    preconditioner[i] = diagonal > 0 ? 1 / diagonal : 1;
  }
  std::vector<double> residual(count), direction(count), scaled(count), image(count);
  const auto apply = [&](const std::vector<double>& p) {
    laplacian.multiply(p, image);
    for (size_t i = 0; i < count; ++i) image[i] += known[i] * p[i];
  };
  const auto precondition = [&] {
    for (size_t i = 0; i < count; ++i) scaled[i] = preconditioner[i] * residual[i];
  };
  apply(x);
  for (size_t i = 0; i < count; ++i) residual[i] = right[i] - image[i];
  precondition();
  direction = scaled;
  // Where nothing is known to be object, the right-hand side is no measure.
  const double enough = tolerance * tolerance * std::max(dot(right, right), kConstraint * kConstraint);
  double along = dot(residual, scaled);
  for (int step = 0; step < kMaxSteps && dot(residual, residual) > enough; ++step) {
    apply(direction);
    const double curvature = dot(direction, image);
    if (!(curvature > 0)) break;
    const double length = along / curvature;
    for (size_t i = 0; i < count; ++i) {
      x[i] += length * direction[i];
      residual[i] -= length * image[i];
    }
    precondition();
    const double next = dot(residual, scaled), keep = next / along;
    along = next;
    for (size_t i = 0; i < count; ++i) direction[i] = scaled[i] + keep * direction[i];
  }
  for (size_t i = 0; i < count; ++i) guess[pixels[i]] = x[i];
  return guess;
}

}  // namespace eg4d
