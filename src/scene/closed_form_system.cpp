#include "scene/closed_form_system.h"

#include <array>
#include <cmath>

#include "core/threads.h"

namespace eg4d {
namespace {

constexpr double kEpsilon = 1e-7;    // keeps a window's covariance invertible
constexpr double kConstraint = 100;  // λ
constexpr double kWindow = 9;        // pixels of a window
constexpr int kMaxSteps = 5000;
constexpr int64_t kRowsPerChunk = 8;

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
// known are left out.
class Laplacian {
 public:
  Laplacian(int width, int height, const std::vector<double>& rgb, const std::vector<Trimap>& trimap)
      : width_(width), height_(height), rgb_(rgb), windows_(trimap.size()), fits_(trimap.size()) {
    each_row(1, height - 1, [&](int y) {
      for (int x = 1; x + 1 < width_; ++x) {
        bool known = true;
        around(x, y, [&](size_t i) { known = known && trimap[i] != Trimap::unknown; });
        if (!known) prepare(x, y);
      }
    });
  }

  // The diagonal, for the preconditioner.
  std::vector<double> diagonal() const {
    std::vector<double> result(windows_.size());
    each_row(0, height_, [&](int y) {
      for (int x = 0; x < width_; ++x) {
        const size_t i = at(x, y);
        each_window(x, y, [&](size_t k) {
          const Color d = difference(i, k), m = product(windows_[k].inverse, d);
          result[i] += 1 - (1 + d[0] * m[0] + d[1] * m[1] + d[2] * m[2]) / kWindow;
        });
      }
    });
    return result;
  }

  void multiply(const std::vector<double>& p, std::vector<double>& result) {
    each_row(1, height_ - 1, [&](int y) {
      for (int x = 1; x + 1 < width_; ++x)
        if (windows_[at(x, y)].used) fit(x, y, p);
    });
    each_row(0, height_, [&](int y) {
      for (int x = 0; x < width_; ++x) {
        const size_t i = at(x, y);
        double sum = 0;
        each_window(x, y, [&](size_t k) {
          const Color d = difference(i, k);
          const Fit& f = fits_[k];
          sum += p[i] - f.mean - (f.slope[0] * d[0] + f.slope[1] * d[1] + f.slope[2] * d[2]);
        });
        result[i] = sum;
      }
    });
  }

 private:
  struct Window {
    Color mean{};
    Symmetric inverse{};  // of the covariance
    bool used = false;
  };
  struct Fit {
    Color slope{};
    double mean = 0;
  };

  size_t at(int x, int y) const {
    return static_cast<size_t>(y) * static_cast<size_t>(width_) + static_cast<size_t>(x);
  }
  template <class Body>
  static void each_row(int first, int end, const Body& body) {
    parallel_for(std::max(end - first, 0), kRowsPerChunk, [&](int64_t begin, int64_t stop) {
      for (int64_t row = begin; row < stop; ++row) body(first + static_cast<int>(row));
    });
  }
  // The pixels of the window around (x, y).
  template <class Body>
  void around(int x, int y, const Body& body) const {
    for (int i = y - 1; i <= y + 1; ++i)
      for (int j = x - 1; j <= x + 1; ++j) body(at(j, i));
  }
  // The used windows that (x, y) is in.
  template <class Body>
  void each_window(int x, int y, const Body& body) const {
    for (int i = std::max(y - 1, 0); i <= std::min(y + 1, height_ - 1); ++i)
      for (int j = std::max(x - 1, 0); j <= std::min(x + 1, width_ - 1); ++j)
        if (windows_[at(j, i)].used) body(at(j, i));
  }
  Color difference(size_t pixel, size_t window) const {
    const Color& mean = windows_[window].mean;
    return {rgb_[3 * pixel] - mean[0], rgb_[3 * pixel + 1] - mean[1], rgb_[3 * pixel + 2] - mean[2]};
  }

  void prepare(int x, int y) {
    const size_t k = at(x, y);
    Window& window = windows_[k];
    window.used = true;
    around(x, y, [&](size_t i) {
      for (size_t c = 0; c < 3; ++c) window.mean[c] += rgb_[3 * i + c] / kWindow;
    });
    Symmetric covariance{};
    around(x, y, [&](size_t i) {
      const Color d = difference(i, k);
      covariance[0] += d[0] * d[0] / kWindow;
      covariance[1] += d[0] * d[1] / kWindow;
      covariance[2] += d[0] * d[2] / kWindow;
      covariance[3] += d[1] * d[1] / kWindow;
      covariance[4] += d[1] * d[2] / kWindow;
      covariance[5] += d[2] * d[2] / kWindow;
    });
    for (const size_t diagonal : {0, 3, 5}) covariance[diagonal] += kEpsilon / kWindow;
    window.inverse = eg4d::inverse(covariance);
  }

  void fit(int x, int y, const std::vector<double>& p) {
    const size_t k = at(x, y);
    Color along{};
    double mean = 0;
    around(x, y, [&](size_t i) {
      const Color d = difference(i, k);
      for (size_t c = 0; c < 3; ++c) along[c] += d[c] * p[i] / kWindow;
      mean += p[i] / kWindow;
    });
    fits_[k] = {product(windows_[k].inverse, along), mean};
  }

  int width_, height_;
  const std::vector<double>& rgb_;
  std::vector<Window> windows_;  // by their middle pixel
  std::vector<Fit> fits_;
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
  const size_t count = trimap.size();
  std::vector<double> known(count), right(count), preconditioner = laplacian.diagonal();
  for (size_t i = 0; i < count; ++i) {
    known[i] = trimap[i] == Trimap::unknown ? 0 : kConstraint;
    right[i] = trimap[i] == Trimap::foreground ? kConstraint : 0;
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
  apply(guess);
  for (size_t i = 0; i < count; ++i) residual[i] = right[i] - image[i];
  precondition();
  direction = scaled;
  const double enough = tolerance * tolerance * dot(right, right);
  double along = dot(residual, scaled);
  for (int step = 0; step < kMaxSteps && dot(residual, residual) > enough; ++step) {
    apply(direction);
    const double curvature = dot(direction, image);
    if (!(curvature > 0)) break;
    const double length = along / curvature;
    for (size_t i = 0; i < count; ++i) {
      guess[i] += length * direction[i];
      residual[i] -= length * image[i];
    }
    precondition();
    const double next = dot(residual, scaled), keep = next / along;
    along = next;
    for (size_t i = 0; i < count; ++i) direction[i] = scaled[i] + keep * direction[i];
  }
  return guess;
}

}  // namespace eg4d
