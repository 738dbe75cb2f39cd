#include "picture/input_picture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "picture/picture_resize.h"

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

TEST(InputPicture, LargePicturesAreFittedFirstUnlessTransparent) {
  Picture large = filled(1000, 1000, {0, 0, 0});
  for (size_t i = 0; i < large.data.size(); ++i) large.data[i] = static_cast<uint8_t>(i * i / 7 % 251);
  const Picture fitted = thumbnail(large, 768, 768);
  EXPECT_EQ(multiview_input(large, 64).picture.data,
            resize_picture(fitted, 64, 64, ResizeFilter::lanczos).data);
  EXPECT_NE(multiview_input(large, 64).picture.data,
            resize_picture(large, 64, 64, ResizeFilter::lanczos).data);
  Picture transparent(1000, 1000, 4);
  for (size_t i = 0; i < 1000 * 1000; ++i) {
    std::copy_n(&large.data[3 * i], 3, &transparent.data[4 * i]);
    transparent.data[4 * i + 3] = 255;
  }
  EXPECT_EQ(multiview_input(transparent, 64).picture.data,
            resize_picture(large, 64, 64, ResizeFilter::lanczos).data);
}

// 100×80, transparent but for 20×10 red pixels right of the middle and above it.
Picture small_red_object() {
  Picture picture = filled(100, 80, {0, 0, 0, 0});
  for (int y = 10; y < 20; ++y)
    for (int x = 60; x < 80; ++x) {
      uint8_t* pixel = &picture.data[(y * 100 + x) * 4];
      pixel[0] = 200;
      pixel[3] = 255;
    }
  return picture;
}

bool is_red(const Picture& picture, int x, int y) {
  return picture.data[(static_cast<size_t>(y) * picture.width + x) * 3 + 1] < 128;
}

TEST(InputPicture, RecentresTheObject) {
  const Picture picture = small_red_object();
  const PictureBox box = *visible_box(picture);
  EXPECT_EQ(box.left, 60);
  EXPECT_EQ(box.top, 10);
  EXPECT_EQ(box.right, 80);
  EXPECT_EQ(box.bottom, 20);
  // 20 pixels wide, half the frame: a square of 40, enlarged to 80. The object is 40×20 in its middle.
  const Picture result = recentred_input(picture, box, 0.5, 80);
  EXPECT_TRUE(is_red(result, 40, 40));
  EXPECT_TRUE(is_red(result, 22, 32));
  EXPECT_TRUE(is_red(result, 57, 47));
  EXPECT_FALSE(is_red(result, 17, 40));
  EXPECT_FALSE(is_red(result, 40, 27));
  EXPECT_FALSE(is_red(result, 40, 52));
  EXPECT_FALSE(visible_box(filled(4, 4, {1, 1, 1, 0})));
  EXPECT_THROW(visible_box(filled(4, 4, {1, 1, 1})), Error);
  EXPECT_THROW(recentred_input(picture, box, 0.0), UsageError);
  EXPECT_THROW(recentred_input(picture, box, 1e-9), UsageError);
  EXPECT_THROW(recentred_input(filled(4, 4, {1, 1, 1}), box, 0.5), Error);
  EXPECT_EQ(recentred_input(picture, box, {}, 64).width, 64);
}

// As published: the box is the whole picture, and the object keeps its place in it.
TEST(InputPicture, TheWholePictureKeepsTheObjectsPlace) {
  const Picture wide = small_red_object();
  // A square of 100: ten rows above, ten below.
  const Picture result = recentred_input(wide, PictureBox::whole(wide), {}, 100);
  EXPECT_TRUE(is_red(result, 60, 20));
  EXPECT_TRUE(is_red(result, 79, 29));
  EXPECT_FALSE(is_red(result, 58, 20));
  EXPECT_FALSE(is_red(result, 60, 18));
  EXPECT_FALSE(is_red(result, 81, 29));
  // With a ratio: ⌊100/0.7⌋ = 142 pixels; the picture stands at 71-50, 71-40.
  const Picture smaller = recentred_input(wide, PictureBox::whole(wide), 0.7, 142);
  EXPECT_TRUE(is_red(smaller, 21 + 60, 31 + 10));
  EXPECT_FALSE(is_red(smaller, 21 + 58, 31 + 10));
  // Higher than wide: the square is as high as the picture.
  const Picture high = filled(30, 90, {9, 9, 9, 255});
  const Picture tall = recentred_input(high, PictureBox::whole(high), {}, 90);
  EXPECT_TRUE(is_red(tall, 45, 0));
  EXPECT_TRUE(is_red(tall, 31, 89));
  EXPECT_FALSE(is_red(tall, 27, 45));
  // An object smaller than the picture's height does not become larger by itself.
  const Picture object = recentred_input(wide, *visible_box(wide), {}, 80);
  EXPECT_TRUE(is_red(object, 31, 36));
  EXPECT_FALSE(is_red(object, 28, 36));
  // Wholly opaque colours stay to the bit; half transparent ones are truncated: 100·127/255 + 128 = 177.8.
  Picture opaque = filled(16, 16, {0, 0, 0, 255});
  for (size_t i = 0; i < 256; ++i) opaque.data[4 * i] = static_cast<uint8_t>(i);
  const Picture same = recentred_input(opaque, PictureBox::whole(opaque), {}, 16);
  for (size_t i = 0; i < 256; ++i) ASSERT_EQ(same.data[3 * i], i);
  const Picture half = filled(8, 8, {100, 100, 100, 127});
  EXPECT_EQ(recentred_input(half, PictureBox::whole(half), {}, 8).data[0], 177);
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
  // 0.6 of a step above 100.
  const std::vector<float> between(3, (100.6f / 255) * 2 - 1);
  EXPECT_EQ(from_model_range(between, 1, 1).data[0], 101);
  EXPECT_EQ(from_model_range(between, 1, 1, ByteRounding::truncate).data[0], 100);
  EXPECT_EQ(from_model_range(odd, 1, 1, ByteRounding::truncate).data, (std::vector<uint8_t>{0, 255, 0}));
}

}  // namespace
}  // namespace eg4d
