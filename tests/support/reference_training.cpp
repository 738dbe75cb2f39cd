#include "support/reference_training.h"

#include <algorithm>
#include <cmath>

namespace eg4d::test {
namespace {

constexpr int kRadius = 5;

double window(int dy, int dx) {
  double sum = 0;
  for (int k = -kRadius; k <= kRadius; ++k) sum += std::exp(-k * k / 4.5);
  return std::exp(-(dx * dx + dy * dy) / 4.5) / (sum * sum);
}

// Calls visit(neighbour index, window weight) for all pixels of the window inside the image.
template <class Visit>
void for_window(int y, int x, int c, int width, int height, const Visit& visit) {
  for (int dy = -kRadius; dy <= kRadius; ++dy)
    for (int dx = -kRadius; dx <= kRadius; ++dx) {
      if (y + dy < 0 || y + dy >= height || x + dx < 0 || x + dx >= width) continue;
      visit(static_cast<size_t>(((y + dy) * width + x + dx) * 3 + c), dy, dx);
    }
}

}  // namespace

template <class T>
T reference_ssim(const std::vector<T>& a, const std::vector<T>& b, int width, int height,
                 std::vector<T>* d_a) {
  const T c1 = static_cast<T>(0.01 * 0.01), c2 = static_cast<T>(0.03 * 0.03);
  T weights[11][11];
  for (int dy = -kRadius; dy <= kRadius; ++dy)
    for (int dx = -kRadius; dx <= kRadius; ++dx)
      weights[dy + kRadius][dx + kRadius] = static_cast<T>(window(dy, dx));
  if (d_a) d_a->assign(a.size(), 0);
  T sum = 0;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) {
        T mean_a = 0, mean_b = 0, aa = 0, bb = 0, ab = 0;
        for_window(y, x, c, width, height, [&](size_t i, int dy, int dx) {
          const T w = weights[dy + kRadius][dx + kRadius];
          mean_a += w * a[i];
          mean_b += w * b[i];
          aa += w * a[i] * a[i];
          bb += w * b[i] * b[i];
          ab += w * a[i] * b[i];
        });
        const T variance_a = aa - mean_a * mean_a, variance_b = bb - mean_b * mean_b;
        const T covariance = ab - mean_a * mean_b;
        const T n1 = 2 * mean_a * mean_b + c1, n2 = 2 * covariance + c2;
        const T d1 = mean_a * mean_a + mean_b * mean_b + c1, d2 = variance_a + variance_b + c2;
        sum += n1 * n2 / (d1 * d2);
        if (!d_a) continue;
        for_window(y, x, c, width, height, [&](size_t i, int dy, int dx) {
          // Derivatives of n1, n2, d1, d2 with respect to a[i].
          const T w = weights[dy + kRadius][dx + kRadius];
          const T d_n1 = 2 * mean_b * w, d_n2 = 2 * w * (b[i] - mean_b);
          const T d_d1 = 2 * mean_a * w, d_d2 = 2 * w * (a[i] - mean_a);
          const T quotient = n1 * n2 / (d1 * d2);
          (*d_a)[i] += ((d_n1 * n2 + n1 * d_n2) / (d1 * d2) - quotient * (d_d1 / d1 + d_d2 / d2)) /
                       static_cast<T>(a.size());
        });
      }
  return a.empty() ? 0 : sum / static_cast<T>(a.size());
}

template <class T>
std::vector<T> reference_resize(const std::vector<uint8_t>& picture, int width, int height, int out_width,
                                int out_height) {
  std::vector<T> out(static_cast<size_t>(out_width) * out_height * 3);
  const auto source = [](int at, int size, int out_size) {
    return std::max(T{0},
                    (static_cast<T>(at) + T{0.5}) * static_cast<T>(size) / static_cast<T>(out_size) - T{0.5});
  };
  for (int y = 0; y < out_height; ++y)
    for (int x = 0; x < out_width; ++x) {
      const T sy = source(y, height, out_height), sx = source(x, width, out_width);
      const int y0 = std::min(static_cast<int>(sy), height - 1),
                x0 = std::min(static_cast<int>(sx), width - 1);
      const int y1 = std::min(y0 + 1, height - 1), x1 = std::min(x0 + 1, width - 1);
      const T wy = sy - static_cast<T>(y0), wx = sx - static_cast<T>(x0);
      for (int c = 0; c < 3; ++c) {
        const auto at = [&](int row, int column) {
          return static_cast<T>(picture[static_cast<size_t>((row * width + column) * 3 + c)]) / 255;
        };
        out[static_cast<size_t>((y * out_width + x) * 3 + c)] =
            (1 - wy) * ((1 - wx) * at(y0, x0) + wx * at(y0, x1)) +
            wy * ((1 - wx) * at(y1, x0) + wx * at(y1, x1));
      }
    }
  return out;
}

template <class T>
void reference_adam(std::vector<T>& parameter, const std::vector<T>& gradient, std::vector<T>& first,
                    std::vector<T>& second, int64_t step, double learning_rate, double beta1, double beta2,
                    double epsilon) {
  const T b1 = static_cast<T>(beta1), b2 = static_cast<T>(beta2);
  const T correction1 = static_cast<T>(1 - std::pow(beta1, step));
  const T correction2 = static_cast<T>(1 - std::pow(beta2, step));
  for (size_t i = 0; i < parameter.size(); ++i) {
    first[i] = b1 * first[i] + static_cast<T>(1 - beta1) * gradient[i];
    second[i] = b2 * second[i] + static_cast<T>(1 - beta2) * gradient[i] * gradient[i];
    const T mean = first[i] / correction1, variance = second[i] / correction2;
    parameter[i] -= static_cast<T>(learning_rate) * mean / (std::sqrt(variance) + static_cast<T>(epsilon));
  }
}

#define EG4D_INSTANTIATE(T)                                                                              \
  template T reference_ssim(const std::vector<T>&, const std::vector<T>&, int, int, std::vector<T>*);    \
  template std::vector<T> reference_resize(const std::vector<uint8_t>&, int, int, int, int);             \
  template void reference_adam(std::vector<T>&, const std::vector<T>&, std::vector<T>&, std::vector<T>&, \
                               int64_t, double, double, double, double);
EG4D_INSTANTIATE(float)
EG4D_INSTANTIATE(double)
#undef EG4D_INSTANTIATE

}  // namespace eg4d::test
