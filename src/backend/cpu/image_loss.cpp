#include <array>
#include <cmath>
#include <vector>

#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

constexpr int kRadius = 5;  // 11×11 window
constexpr float kC1 = 0.01f * 0.01f, kC2 = 0.03f * 0.03f;

std::array<float, 2 * kRadius + 1> gaussian_window() {
  std::array<double, 2 * kRadius + 1> weight;
  double sum = 0;
  for (int i = -kRadius; i <= kRadius; ++i) sum += weight[i + kRadius] = std::exp(-i * i / (2 * 1.5 * 1.5));
  std::array<float, 2 * kRadius + 1> window;
  for (size_t i = 0; i < window.size(); ++i) window[i] = static_cast<float>(weight[i] / sum);
  return window;
}

// Blurs an image [height,width,3] with the window, zero outside; separable and its own adjoint.
std::vector<float> blur(const std::vector<float>& image, int width, int height) {
  static const auto window = gaussian_window();
  const int64_t row = int64_t{width} * 3;
  std::vector<float> horizontal(image.size()), out(image.size());
  parallel_for(height, 8, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y)
      for (int64_t x = 0; x < row; ++x) {
        float sum = 0;
        for (int k = -kRadius; k <= kRadius; ++k) {
          const int64_t at = x + k * 3;
          if (at >= 0 && at < row) sum += window[k + kRadius] * image[y * row + at];
        }
        horizontal[y * row + x] = sum;
      }
  });
  parallel_for(height, 8, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y)
      for (int64_t x = 0; x < row; ++x) {
        float sum = 0;
        for (int k = -kRadius; k <= kRadius; ++k)
          if (y + k >= 0 && y + k < height) sum += window[k + kRadius] * horizontal[(y + k) * row + x];
        out[y * row + x] = sum;
      }
  });
  return out;
}

std::vector<float> product(const float* a, const float* b, size_t count) {
  std::vector<float> out(count);
  for (size_t i = 0; i < count; ++i) out[i] = a[i] * b[i];
  return out;
}

// Mean SSIM; its derivative with respect to a, times `weight`, is added to d_a when that is not null.
double ssim(const float* a, const float* b, int width, int height, float weight, float* d_a) {
  const size_t count = size_t{3} * width * height;
  const std::vector<float> mean_a = blur({a, a + count}, width, height);
  const std::vector<float> mean_b = blur({b, b + count}, width, height);
  const std::vector<float> square_a = blur(product(a, a, count), width, height);
  const std::vector<float> square_b = blur(product(b, b, count), width, height);
  const std::vector<float> cross = blur(product(a, b, count), width, height);
  std::vector<float> d_mean(count), d_square(count), d_cross(count);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    const float ma = mean_a[i], mb = mean_b[i];
    const float luminance = 2 * ma * mb + kC1, contrast = 2 * (cross[i] - ma * mb) + kC2;
    const float luminance_norm = ma * ma + mb * mb + kC1;
    const float contrast_norm = (square_a[i] - ma * ma) + (square_b[i] - mb * mb) + kC2;
    const float value = luminance * contrast / (luminance_norm * contrast_norm);
    sum += value;
    d_square[i] = -value / contrast_norm;
    d_cross[i] = 2 * luminance / (luminance_norm * contrast_norm);
    d_mean[i] = 2 * mb * contrast / (luminance_norm * contrast_norm) - value * 2 * ma / luminance_norm -
                d_cross[i] * mb - d_square[i] * 2 * ma;
  }
  if (d_a) {
    const std::vector<float> from_mean = blur(d_mean, width, height);
    const std::vector<float> from_square = blur(d_square, width, height);
    const std::vector<float> from_cross = blur(d_cross, width, height);
    const float scale = weight / static_cast<float>(count);
    for (size_t i = 0; i < count; ++i)
      d_a[i] += scale * (from_mean[i] + 2 * a[i] * from_square[i] + b[i] * from_cross[i]);
  }
  return sum / static_cast<double>(count);
}

}  // namespace

void image_loss(const ImageLoss& loss) {
  const int64_t count = int64_t{3} * loss.width * loss.height;
  double absolute = 0, square = 0;
  const float weight = count > 0 ? loss.l1_weight / static_cast<float>(count) : 0;
  for (int64_t i = 0; i < count; ++i) {
    const float difference = loss.image[i] - loss.target[i];
    absolute += std::abs(difference);
    square += static_cast<double>(difference) * difference;
    if (loss.d_image) loss.d_image[i] = difference > 0 ? weight : difference < 0 ? -weight : difference * 0;
  }
  double similarity = 0;
  if ((loss.dssim_weight != 0 || loss.want_ssim) && count > 0) {
    similarity = ssim(loss.image, loss.target, loss.width, loss.height, -loss.dssim_weight,
                      loss.dssim_weight != 0 ? loss.d_image : nullptr);
  }
  if (!loss.values) return;
  const double samples = count > 0 ? static_cast<double>(count) : 1;
  loss.values[0] = absolute / samples;
  loss.values[1] = similarity;
  loss.values[2] = square / samples;
  loss.values[3] = loss.l1_weight * loss.values[0];
  if (loss.dssim_weight != 0) loss.values[3] += loss.dssim_weight * (1 - similarity);
}

}  // namespace eg4d::cpu
