#include "picture/alpha_matting.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/threads.h"
#include "picture/closed_form_system.h"
#include "support/expect_error.h"
#include "support/random_values.h"

namespace eg4d {
namespace {

Picture filled(int width, int height, int channels, uint8_t value) {
  Picture picture(width, height, channels);
  std::fill(picture.data.begin(), picture.data.end(), value);
  return picture;
}

TEST(Trimap, ErodesBothSides) {
  // 12 pixels in a row, 9 high: object on the left half.
  Picture matte = filled(12, 9, 1, 0);
  for (size_t i = 0; i < matte.data.size(); ++i)
    if (i % 12 < 6) matte.data[i] = 255;
  const auto trimap = make_trimap(matte, {.erode_size = 3});
  const auto at = [&](int x, int y) { return trimap[static_cast<size_t>(y * 12 + x)]; };
  EXPECT_EQ(at(4, 4), Trimap::foreground);
  EXPECT_EQ(at(5, 4), Trimap::unknown);
  EXPECT_EQ(at(6, 4), Trimap::unknown);
  EXPECT_EQ(at(7, 4), Trimap::background);
  EXPECT_EQ(at(4, 0), Trimap::unknown);  // beyond the border there is no object
  EXPECT_EQ(at(0, 4), Trimap::unknown);
  EXPECT_EQ(at(11, 0), Trimap::background);  // but background goes on
  EXPECT_EQ(make_trimap(filled(3, 3, 1, 100), {})[4], Trimap::unknown);
  EXPECT_EQ(make_trimap(filled(1, 1, 1, 0), {})[0], Trimap::background);
}

// The Laplacian's definition (Levin et al. 2008, equation 12), pair by pair, solved densely.
std::vector<double> plain_solution(int width, int height, const std::vector<double>& rgb,
                                   const std::vector<Trimap>& trimap) {
  const auto count = static_cast<size_t>(width * height);
  std::vector<double> matrix(count * count), right(count);
  for (int y = 1; y + 1 < height; ++y)
    for (int x = 1; x + 1 < width; ++x) {
      std::vector<size_t> window;
      for (int i = -1; i <= 1; ++i)
        for (int j = -1; j <= 1; ++j) window.push_back(static_cast<size_t>((y + i) * width + x + j));
      double mean[3] = {}, c[3][3] = {}, inverse[3][3];
      for (const size_t p : window)
        for (size_t k = 0; k < 3; ++k) mean[k] += rgb[3 * p + k] / 9;
      for (const size_t p : window)
        for (size_t k = 0; k < 3; ++k)
          for (size_t l = 0; l < 3; ++l)
            c[k][l] += (rgb[3 * p + k] - mean[k]) * (rgb[3 * p + l] - mean[l]) / 9;
      for (size_t k = 0; k < 3; ++k) c[k][k] += 1e-7 / 9;
      double determinant = 0;
      for (size_t k = 0; k < 3; ++k)
        determinant +=
            c[0][k] * (c[1][(k + 1) % 3] * c[2][(k + 2) % 3] - c[1][(k + 2) % 3] * c[2][(k + 1) % 3]);
      for (size_t k = 0; k < 3; ++k)
        for (size_t l = 0; l < 3; ++l)
          inverse[l][k] = (c[(k + 1) % 3][(l + 1) % 3] * c[(k + 2) % 3][(l + 2) % 3] -
                           c[(k + 1) % 3][(l + 2) % 3] * c[(k + 2) % 3][(l + 1) % 3]) /
                          determinant;
      for (const size_t p : window)
        for (const size_t q : window) {
          double affinity = 1;
          for (size_t k = 0; k < 3; ++k)
            for (size_t l = 0; l < 3; ++l)
              affinity += (rgb[3 * p + k] - mean[k]) * inverse[k][l] * (rgb[3 * q + l] - mean[l]);
          matrix[p * count + q] += (p == q) - affinity / 9;
        }
    }
  for (size_t p = 0; p < count; ++p) {
    if (trimap[p] == Trimap::unknown) continue;
    matrix[p * count + p] += 100;
    right[p] = trimap[p] == Trimap::foreground ? 100 : 0;
  }
  for (size_t p = 0; p < count; ++p)  // Gauss, the matrix is positive definite
    for (size_t q = p + 1; q < count; ++q) {
      const double factor = matrix[q * count + p] / matrix[p * count + p];
      for (size_t k = p; k < count; ++k) matrix[q * count + k] -= factor * matrix[p * count + k];
      right[q] -= factor * right[p];
    }
  for (size_t p = count; p-- > 0;) {
    for (size_t k = p + 1; k < count; ++k) right[p] -= matrix[p * count + k] * right[k];
    right[p] /= matrix[p * count + p];
  }
  return right;
}

TEST(ClosedForm, IsTheSolutionOfLevinsSystem) {
  constexpr int kWidth = 11, kHeight = 8;
  Philox random(3);
  const auto rgb = test::uniform_values<double>(random, kWidth * kHeight * 3, 0, 1);
  std::vector<Trimap> trimap(kWidth * kHeight, Trimap::unknown);
  for (size_t i = 0; i < trimap.size(); ++i) {
    if (i % kWidth < 2) trimap[i] = Trimap::foreground;
    if (i % kWidth > 8) trimap[i] = Trimap::background;
  }
  const auto wanted = plain_solution(kWidth, kHeight, rgb, trimap);
  const auto found =
      solve_closed_form(kWidth, kHeight, rgb, trimap, std::vector<double>(trimap.size(), 0.5), 1e-10);
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(found[i], wanted[i], 1e-6) << i;
}

// A soft disc of one textured colour before another.
struct Scene {
  static constexpr int kSide = 96;
  Picture rgb{kSide, kSide, 3}, matte{kSide, kSide, 1};
  std::vector<float> alpha;

  Scene() {
    for (int y = 0; y < kSide; ++y)
      for (int x = 0; x < kSide; ++x) {
        const double distance = std::hypot(x - 48, y - 48);
        const double a = std::clamp((34 - distance) / 12, 0.0, 1.0);
        const double object[] = {0.8 + 0.1 * std::sin(x * 0.3), 0.2, 0.1 + 0.05 * std::cos(y * 0.2)};
        const double background[] = {0.1, 0.3 + 0.05 * std::sin(y * 0.25), 0.7};
        const auto i = static_cast<size_t>(y * kSide + x);
        alpha.push_back(static_cast<float>(a));
        matte.data[i] = distance < 28 ? 255 : 0;  // a segmentation that does not know the soft border
        for (size_t c = 0; c < 3; ++c)
          rgb.data[3 * i + c] =
              static_cast<uint8_t>(std::lround((a * object[c] + (1 - a) * background[c]) * 255));
      }
  }
};

TEST(ClosedForm, FindsASoftBorder) {
  const Scene scene;
  const auto alpha = closed_form_alpha(scene.rgb, make_trimap(scene.matte, {.erode_size = 20}));
  double sum = 0, rough = 0;
  for (size_t i = 0; i < alpha.size(); ++i) {
    sum += std::abs(alpha[i] - scene.alpha[i]);
    rough += std::abs(scene.matte.data[i] / 255.0 - scene.alpha[i]);
  }
  EXPECT_LT(sum, rough / 5);
  EXPECT_LT(sum / static_cast<double>(alpha.size()), 0.01);
}

TEST(ClosedForm, NumberOfThreadsChangesNothing) {
  const Scene scene;
  const auto trimap = make_trimap(scene.matte, {});
  EXPECT_TRUE(test::same_bits_for_any_thread_count([&] { return closed_form_alpha(scene.rgb, trimap); }));
}

TEST(Foreground, LosesTheBackgroundsShare) {
  const Scene scene;
  const Picture colors = estimate_foreground(scene.rgb, scene.alpha);
  for (size_t i = 0; i < scene.alpha.size(); ++i) {
    if (scene.alpha[i] < 0.2f) continue;
    EXPECT_GT(colors.data[3 * i], 160) << i;
    EXPECT_LT(colors.data[3 * i + 2], 80) << i;
  }
}

TEST(CutOut, WithAndWithoutAlphaMatting) {
  const Scene scene;
  const Picture plain = cut_out(scene.rgb, scene.matte, false);
  EXPECT_EQ(plain.channels, 4);
  EXPECT_EQ(plain.data[3], 0);
  EXPECT_EQ(plain.data[4 * (48 * 96 + 48) + 3], 255);
  EXPECT_EQ(plain.data[4 * (48 * 96 + 48)], scene.rgb.data[3 * (48 * 96 + 48)]);
  const Picture fine = cut_out(scene.rgb, scene.matte, true);
  EXPECT_EQ(fine.data[3], 0);
  EXPECT_EQ(fine.data[4 * (48 * 96 + 48) + 3], 255);
  EXPECT_THROW(cut_out(scene.rgb, filled(3, 3, 1, 0), true), Error);
}

TEST(CutOut, TinyPicturesAndMattesOfOneKind) {
  for (const int side : {1, 2, 3, 5})
    for (const uint8_t value : {0, 128, 255}) {
      const Picture result = cut_out(filled(side, side, 3, 77), filled(side, side, 1, value), true);
      EXPECT_EQ(result.data.size(), static_cast<size_t>(side * side * 4));
    }
}

}  // namespace
}  // namespace eg4d
