#include <gtest/gtest.h>

#include <vector>

#include "vision/clip_image.h"

namespace eg4d {
namespace {

TEST(ClipPreprocess, TinyPicturesAndNonsense) {
  EXPECT_EQ(clip_preprocess(std::vector<float>{0, 0, 0}, 1, 1, 8).size(), 8u * 8 * 3);
  EXPECT_EQ(clip_preprocess(std::vector<float>(3 * 100, 0.5f), 1, 100, 8).size(), 8u * 8 * 3);
  EXPECT_THROW(clip_preprocess({}, 0, 0, 8), std::exception);
}

}  // namespace
}  // namespace eg4d
