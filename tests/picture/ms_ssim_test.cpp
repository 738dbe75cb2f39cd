#include "picture/ms_ssim.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/expect_error.h"

namespace eg4d {
namespace {

// Something with structure at several scales, disturbed a little.
Picture textured(int width, int height, int noise) {
  Picture picture(width, height, 3);
  uint32_t state = 1;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) {
        state = state * 1664525 + 1013904223;
        const double value = 128 + 60 * std::sin(0.05 * x + c) + 40 * std::sin(0.4 * y) +
                             noise * (static_cast<double>(state >> 16) / 65536 - 0.5);
        picture.data[(static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)) * 3 +
                     static_cast<size_t>(c)] = static_cast<uint8_t>(std::clamp(value, 0.0, 255.0));
      }
  return picture;
}

// The definition word by word: the whole 11×11 window at every place, no separation, padding as an array.
double plain(const Picture& a, const Picture& b) {
  struct Image {
    int width, height;
    std::vector<double> values;
    double at(int x, int y) const { return values[static_cast<size_t>(y * width + x)]; }
  };
  double weights[11][11], total = 0;
  for (int v = 0; v < 11; ++v)
    for (int u = 0; u < 11; ++u)
      total += weights[v][u] = std::exp(-((u - 5) * (u - 5) + (v - 5) * (v - 5)) / (2 * 1.5 * 1.5));
  const double powers[] = {0.0448, 0.2856, 0.3001, 0.2363, 0.1333};
  double mean = 0;
  for (size_t c = 0; c < 3; ++c) {
    Image x{a.width, a.height, {}}, y{a.width, a.height, {}};
    for (size_t i = c; i < a.data.size(); i += 3) {
      x.values.push_back(a.data[i] / 255.0);
      y.values.push_back(b.data[i] / 255.0);
    }
    double product = 1;
    for (int scale = 0; scale < 5; ++scale) {
      double whole = 0, contrast = 0;
      int count = 0;
      for (int top = 0; top + 11 <= x.height; ++top)
        for (int left = 0; left + 11 <= x.width; ++left) {
          double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
          for (int v = 0; v < 11; ++v)
            for (int u = 0; u < 11; ++u) {
              const double w = weights[v][u] / total, p = x.at(left + u, top + v),
                           q = y.at(left + u, top + v);
              ma += w * p;
              mb += w * q;
              aa += w * p * p;
              bb += w * q * q;
              ab += w * p * q;
            }
          const double cs = (2 * (ab - ma * mb) + 0.0009) / (aa - ma * ma + bb - mb * mb + 0.0009);
          contrast += cs;
          whole += cs * (2 * ma * mb + 0.0001) / (ma * ma + mb * mb + 0.0001);
          ++count;
        }
      product *= std::pow(std::max((scale < 4 ? contrast : whole) / count, 0.0), powers[scale]);
      const auto halve = [](const Image& image) {
        const int px = image.width % 2, py = image.height % 2;
        Image half{(image.width + 2 * px) / 2, (image.height + 2 * py) / 2, {}};
        for (int v = 0; v < half.height; ++v)
          for (int u = 0; u < half.width; ++u) {
            double sum = 0;
            for (int k = 0; k < 4; ++k) {
              const int px_ = 2 * u + k % 2 - px, py_ = 2 * v + k / 2 - py;
              if (px_ >= 0 && py_ >= 0 && px_ < image.width && py_ < image.height) sum += image.at(px_, py_);
            }
            half.values.push_back(sum / 4);
          }
        return half;
      };
      x = halve(x);
      y = halve(y);
    }
    mean += product / 3;
  }
  return mean;
}

TEST(MsSsim, IsItsDefinition) {
  for (const auto& [width, height] : {std::pair{176, 162}, std::pair{161, 175}}) {
    const Picture a = textured(width, height, 0), b = textured(width, height, 90);
    const double value = ms_ssim(a, b);
    EXPECT_NEAR(value, plain(a, b), 1e-9);
    EXPECT_GT(value, 0.3);
    EXPECT_LT(value, 0.999);
  }
}

TEST(MsSsim, OneForEqualPicturesAndLessForMoreNoise) {
  const Picture clean = textured(170, 170, 0);
  EXPECT_NEAR(ms_ssim(clean, clean), 1, 1e-12);
  EXPECT_GT(ms_ssim(clean, textured(170, 170, 20)), ms_ssim(clean, textured(170, 170, 80)));
}

TEST(MsSsim, SmallPicturesAreRefused) {
  EXPECT_ERROR(ms_ssim(Picture(160, 300, 3), Picture(160, 300, 3)), "more than 160 pixels a side");
}

}  // namespace
}  // namespace eg4d
