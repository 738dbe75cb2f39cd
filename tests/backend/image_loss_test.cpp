#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "backend/backend.h"
#include "support/device_fixture.h"
#include "support/device_value.h"
#include "support/golden.h"
#include "support/instruction_sets.h"
#include "support/random_values.h"
#include "support/reference_training.h"

namespace eg4d::test {
namespace {

struct LossResult {
  std::vector<double> values;  // l1, ssim, mean squared error, loss
  std::vector<float> d_image;
};
LossResult run_loss(const std::vector<float>& a, const std::vector<float>& b, int width, int height,
                    float l1_weight, float dssim_weight, bool want_ssim = false) {
  const auto backend = make_test_backend({.guard_memory = true});
  const Tensor image = upload(*backend, a), target = upload(*backend, b);
  const Tensor gradient = upload(*backend, std::vector<float>(a.size(), 7.0f));  // to be overwritten
  const Tensor values = Tensor::zeros(*backend, {4}, DType::f64);
  backend->run(ImageLoss{.width = width,
                         .height = height,
                         .image = image.data(),
                         .target = target.data(),
                         .l1_weight = l1_weight,
                         .dssim_weight = dssim_weight,
                         .d_image = gradient.data(),
                         .values = values.data<double>(),
                         .want_ssim = want_ssim});
  return {values.to_host<double>(), gradient.to_host()};
}

std::vector<float> picture(int width, int height, uint64_t seed) {
  Philox random(seed);
  return uniform_values(random, int64_t{3} * width * height, 0.0f, 1.0f);
}

EG4D_DEVICE_SUITE(ClampUnitTest);

TEST_P(ClampUnitTest, BackwardLetsGradientsThroughInsideAlone) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto backend = make_test_backend({.guard_memory = true});
  const Tensor values = upload(*backend, std::vector<float>{-0.1f, 0, 0.5f, 1, 1.0001f, nan});
  const Tensor gradients = upload(*backend, std::vector<float>{1, 2, 3, 4, 5, 6});
  backend->run(ClampUnitBackward{values.data(), gradients.data(), values.count()});
  EXPECT_EQ(gradients.to_host(), (std::vector<float>{0, 2, 3, 4, 0, 0}));
  backend->run(ClampUnit{values.data(), values.count()});
  EXPECT_EQ(values.to_host(), (std::vector<float>{0, 0, 0.5f, 1, 1, 0}));
}

EG4D_DEVICE_SUITE(UnitToBytesTest);

TEST_P(UnitToBytesTest, RoundsToNearestAndClamps) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto backend = make_test_backend({.guard_memory = true});
  std::vector<float> values{-0.1f, 1.0001f, 1e30f, -1e30f, kInfinity, -kInfinity, -0.0f, std::nanf("")};
  std::vector<uint8_t> bytes{0, 255, 255, 0, 255, 0, 0, 0};
  for (int i = 0; i < 256; ++i)
    for (const float part : {-0.49f, 0.0f, 0.49f}) {
      values.push_back((static_cast<float>(i) + part) / 255);
      bytes.push_back(static_cast<uint8_t>(i));
    }
  const Tensor from = upload(*backend, values);
  const Tensor to = Tensor::empty(*backend, {from.count()}, DType::u8);
  backend->run(UnitToBytes{from.data(), to.data<uint8_t>(), from.count()});
  EXPECT_EQ(to.to_host<uint8_t>(), bytes);
  backend->run(UnitToBytes{});
}

TEST(SsimReference, GradientIsTheDerivative) {
  std::vector<double> a = converted<double>(picture(7, 5, 1));
  const std::vector<double> b = converted<double>(picture(7, 5, 2));
  std::vector<double> d;
  reference_ssim(a, b, 7, 5, &d);
  for (size_t i = 0; i < a.size(); ++i)
    EXPECT_NEAR(d[i], central_difference(a[i], 1e-6, [&] { return reference_ssim(a, b, 7, 5); }), 1e-8);
}

EG4D_DEVICE_SUITE(ImageLossTest);

TEST_P(ImageLossTest, MatchesTheReferenceForAnySize) {
  for_each_instruction_set([] {
    const int sizes[][2] = {{1, 1}, {2, 1}, {1, 9}, {5, 3}, {17, 23}, {40, 31}};
    for (const auto& [width, height] : sizes) {
      const std::vector<float> a = picture(width, height, 3), b = picture(width, height, 4);
      std::vector<double> d_ssim;
      const double ssim = reference_ssim(converted<double>(a), converted<double>(b), width, height, &d_ssim);
      double l1 = 0, square = 0;
      std::vector<double> gradient(a.size());
      for (size_t i = 0; i < a.size(); ++i) {
        const double difference = static_cast<double>(a[i]) - b[i], count = static_cast<double>(a.size());
        l1 += std::abs(difference) / count;
        square += difference * difference / count;
        gradient[i] = 0.8 / count * (difference > 0 ? 1 : -1) - 0.2 * d_ssim[i];
      }
      const LossResult result = run_loss(a, b, width, height, 0.8f, 0.2f);
      EXPECT_NEAR(result.values[0], l1, 1e-6);
      EXPECT_NEAR(result.values[1], ssim, 1e-5);
      EXPECT_NEAR(result.values[2], square, 1e-6);
      EXPECT_NEAR(result.values[3], 0.8 * l1 + 0.2 * (1 - ssim), 1e-5);
      EXPECT_LE(relative_error(result.d_image, converted<float>(gradient)), 1e-4) << width << "x" << height;
    }
  });
}

TEST_P(ImageLossTest, SsimIsComputedOnlyWhenWanted) {
  const std::vector<float> a = picture(9, 8, 5), b = picture(9, 8, 6);
  EXPECT_EQ(run_loss(a, b, 9, 8, 1, 0).values[1], 0);
  const LossResult wanted = run_loss(a, b, 9, 8, 1, 0, true);
  EXPECT_NE(wanted.values[1], 0);
  EXPECT_EQ(wanted.d_image, run_loss(a, b, 9, 8, 1, 0).d_image);
  EXPECT_DOUBLE_EQ(wanted.values[3], wanted.values[0]);
}

TEST_P(ImageLossTest, EqualImages) {
  const std::vector<float> a = picture(13, 12, 5);
  const LossResult result = run_loss(a, a, 13, 12, 0.8f, 0.2f);
  EXPECT_EQ(result.values[0], 0);
  EXPECT_NEAR(result.values[1], 1, 1e-6);
  for (const float d : result.d_image) EXPECT_NEAR(d, 0, 1e-6);
}

TEST_P(ImageLossTest, NoPixelsAndNotANumber) {
  const LossResult empty = run_loss({}, {}, 0, 0, 1, 1, true);
  EXPECT_EQ(empty.values[0], 0);
  std::vector<float> a = picture(9, 8, 5);
  a[4] = std::numeric_limits<float>::quiet_NaN();
  a[50] = std::numeric_limits<float>::infinity();
  const LossResult result = run_loss(a, picture(9, 8, 6), 9, 8, 1, 1);
  EXPECT_TRUE(std::isnan(result.values[0]));
}

TEST(ImageLossOnCpu, SameBitsForAnyNumberOfThreads) {
  const std::vector<float> a = picture(150, 130, 7), b = picture(150, 130, 8);
  EXPECT_TRUE(same_bits_for_any_thread_count([&] {
    LossResult result = run_loss(a, b, 150, 130, 0.8f, 0.2f);
    for (const double value : result.values) result.d_image.push_back(static_cast<float>(value));
    return result.d_image;
  }));
}

std::vector<float> run_resize(const std::vector<uint8_t>& picture, int width, int height, int out_width,
                              int out_height) {
  const auto backend = make_test_backend({.guard_memory = true});
  const Tensor input = Tensor::from_host(*backend, {static_cast<int64_t>(picture.size())}, picture);
  const Tensor out = Tensor::zeros(*backend, {out_height, out_width, 3});
  const DeviceValue<SourcePicture> source(
      *backend, {.pixels = input.data<uint8_t>(), .width = width, .height = height});
  backend->run(ResizePicture{
      .picture = source.data(), .out_width = out_width, .out_height = out_height, .out = out.data()});
  return out.to_host();
}

EG4D_DEVICE_SUITE(ResizePictureTest);

TEST_P(ResizePictureTest, MatchesTheReference) {
  for_each_instruction_set([] {
    const int sizes[][4] = {{1, 1, 1, 1},    {1, 1, 4, 3},   {5, 7, 1, 1},   {8, 6, 4, 3},
                            {31, 17, 10, 5}, {9, 9, 20, 13}, {12, 9, 12, 4}, {12, 9, 5, 9}};
    for (const auto& [width, height, out_width, out_height] : sizes) {
      Philox random(9);
      std::vector<uint8_t> picture(static_cast<size_t>(3 * width * height));
      for (uint8_t& byte : picture) byte = static_cast<uint8_t>(random.below(256));
      const std::vector<float> ours = run_resize(picture, width, height, out_width, out_height);
      const std::vector<double> wanted =
          reference_resize<double>(picture, width, height, out_width, out_height);
      ASSERT_EQ(ours.size(), wanted.size());
      for (size_t i = 0; i < ours.size(); ++i) EXPECT_NEAR(ours[i], wanted[i], 1e-5);
      EXPECT_TRUE(same_bits_for_any_thread_count(
          [&] { return run_resize(picture, width, height, out_width, out_height); }));
    }
  });
}

TEST_P(ResizePictureTest, EqualSizesOnlyConvert) {
  for_each_instruction_set([] {
    std::vector<uint8_t> picture(3 * 16 * 16);
    for (size_t i = 0; i < picture.size(); ++i) picture[i] = static_cast<uint8_t>(i);
    const std::vector<float> out = run_resize(picture, 16, 16, 16, 16);
    for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], static_cast<float>(picture[i]) / 255);
  });
}

}  // namespace
}  // namespace eg4d::test
