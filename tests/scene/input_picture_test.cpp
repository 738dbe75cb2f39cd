#include "scene/input_picture.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/error.h"

namespace eg4d {
namespace {

Picture filled(int width, int height, std::vector<uint8_t> color) {
  Picture picture(width, height, static_cast<int>(color.size()));
  for (size_t i = 0; i < picture.data.size(); ++i) picture.data[i] = color[i % color.size()];
  return picture;
}

TEST(InputPicture, SidesAreCutToMultiplesOf64) {
  const auto cut = animation_input(filled(200, 130, {10, 20, 30}), 0);
  EXPECT_EQ(cut.picture.width, 192);
  EXPECT_EQ(cut.picture.height, 128);
  ASSERT_TRUE(cut.warning);
  EXPECT_NE(cut.warning->find("192×128"), std::string::npos);
  EXPECT_FALSE(animation_input(filled(128, 64, {1, 2, 3}), 0).warning);
  EXPECT_THROW(animation_input(filled(63, 640, {1, 2, 3}), 0), Error);
  EXPECT_THROW(animation_input(filled(1, 1, {1, 2, 3}), 0), Error);
  EXPECT_EQ(animation_input(filled(1, 1, {1, 2, 3}), 576).picture.height, 576);
}

TEST(InputPicture, AlphaGoesOnWhite) {
  const auto input = multiview_input(filled(8, 8, {0, 0, 0, 0}), 64);
  EXPECT_EQ(input.picture.channels, 3);
  for (const uint8_t byte : input.picture.data) ASSERT_EQ(byte, 255);
  EXPECT_TRUE(multiview_input(filled(8, 9, {0}), 64).warning);
  EXPECT_TRUE(animation_input(filled(8, 9, {0}), 64).warning);
  EXPECT_FALSE(animation_input(filled(9, 9, {0}), 64).warning);
}

TEST(InputPicture, RecentresTheObject) {
  Picture picture = filled(100, 80, {0, 0, 0, 0});
  for (int y = 10; y < 20; ++y)
    for (int x = 60; x < 80; ++x) {
      uint8_t* pixel = &picture.data[(y * 100 + x) * 4];
      pixel[0] = 200;
      pixel[3] = 255;
    }
  // 20 pixels wide, half the frame: a square of 40, enlarged to 80. The object is 40×20 in its middle.
  const Picture result = recentred_input(picture, 0.5, 80).picture;
  const auto red_only = [&](int x, int y) { return result.data[(y * 80 + x) * 3 + 1] < 128; };
  EXPECT_TRUE(red_only(40, 40));
  EXPECT_TRUE(red_only(22, 32));
  EXPECT_TRUE(red_only(57, 47));
  EXPECT_FALSE(red_only(17, 40));
  EXPECT_FALSE(red_only(40, 27));
  EXPECT_FALSE(red_only(40, 52));
  EXPECT_THROW(recentred_input(filled(4, 4, {1, 1, 1, 0}), 0.5), Error);
  EXPECT_THROW(recentred_input(picture, 0.0), UsageError);
  EXPECT_THROW(recentred_input(picture, 1e-9), UsageError);
  EXPECT_THROW(recentred_input(filled(4, 4, {1, 1, 1}), 0.5), Error);
  EXPECT_EQ(recentred_input(picture, {}, 64).picture.width, 64);
}

TEST(InputPicture, RangeRoundTrips) {
  Picture picture(16, 16, 3);
  for (size_t i = 0; i < picture.data.size(); ++i) picture.data[i] = static_cast<uint8_t>(i);
  EXPECT_EQ(from_model_range(to_model_range(picture), 16, 16).data, picture.data);
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> odd = {nan, infinity, -infinity};
  EXPECT_EQ(from_model_range(odd, 1, 1).data, (std::vector<uint8_t>{0, 255, 0}));
  EXPECT_THROW(from_model_range(odd, 2, 2), Error);
}

}  // namespace
}  // namespace eg4d
