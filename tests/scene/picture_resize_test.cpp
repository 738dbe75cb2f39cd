#include "scene/picture_resize.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/golden.h"
#include "support/places.h"

namespace eg4d {
namespace {

Picture hash_picture(uint32_t id, int width, int height, int channels) {
  Picture picture(width, height, channels);
  // hash_tensor keeps 24 bits as (value + 0.5); the top 8 of them are the byte.
  const auto values = test::hash_tensor(id, picture.data.size(), 1, 0.5f);
  for (size_t i = 0; i < values.size(); ++i) picture.data[i] = static_cast<uint8_t>(values[i] * 256);
  return picture;
}

std::string hex(const std::vector<uint8_t>& bytes, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    text += "0123456789abcdef"[bytes[i] >> 4];
    text += "0123456789abcdef"[bytes[i] & 15];
  }
  return text;
}

// tests/data/pillow_resize.json is made by make_pillow_fixture.py.
TEST(PictureResize, IsPillowsToTheBit) {
  std::ifstream file(test::test_data() / "pillow_resize.json");
  if (!file) GTEST_SKIP() << "no pillow_resize.json";
  const auto fixture = nlohmann::json::parse(file);
  ASSERT_FALSE(fixture["cases"].empty());
  for (const auto& one : fixture["cases"]) {
    SCOPED_TRACE(one.dump().substr(0, 160));
    const Picture picture = hash_picture(one["id"], one["width"], one["height"], one["channels"]);
    const std::string operation = one["operation"];
    const auto filter = operation == "bicubic" ? ResizeFilter::bicubic : ResizeFilter::lanczos;
    const Picture result = operation == "thumbnail"
                               ? thumbnail(picture, one["to"][0], one["to"][1])
                               : resize_picture(picture, one["to"][0], one["to"][1], filter);
    ASSERT_EQ(result.width, one["size"][0]);
    ASSERT_EQ(result.height, one["size"][1]);
    if (one.contains("bytes")) {
      EXPECT_EQ(hex(result.data, result.data.size()), one["bytes"]);
    }
    if (one.contains("first_row")) {
      EXPECT_EQ(hex(result.data, size_t(result.width) * result.channels), one["first_row"]);
    }
    EXPECT_EQ(crc32(0, result.data.data(), static_cast<uInt>(result.data.size())), one["crc32"].get<uLong>());
  }
}

TEST(PictureResize, RefusesEmptySizes) {
  EXPECT_THROW(resize_picture(Picture(3, 3, 3), 0, 4, ResizeFilter::lanczos), Error);
  EXPECT_THROW(resize_picture(Picture(), 4, 4, ResizeFilter::bicubic), Error);
}

}  // namespace
}  // namespace eg4d
