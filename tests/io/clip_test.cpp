#include "io/clip.h"

#include <gtest/gtest.h>

#include <string>

#include "support/expect_error.h"

namespace eg4d {
namespace {

using namespace std::string_literals;

TEST(Clip, IsTheFilesOfItsFrames) {
  const std::string bytes = "EG4DCLIP\2\0\0\0\3\0\0\0one\0\0\0\0"s;
  EXPECT_TRUE(is_clip(bytes));
  const auto frames = clip_frames(bytes, 25);
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0], "one");
  EXPECT_EQ(frames[1], "");
}

TEST(Clip, EverythingElseIsRefused) {
  EXPECT_FALSE(is_clip("EG4DCLI"));
  EXPECT_ERROR(clip_frames("\x89PNG", 25), "no video");
  EXPECT_ERROR(clip_frames("EG4DCLIP\2\0", 25), "cut off");
  EXPECT_ERROR(clip_frames("EG4DCLIP\1\0\0\0\0\0\0\0"s, 25), "1 frames was sent: 2 to 25");
  EXPECT_ERROR(clip_frames("EG4DCLIP\3\0\0\0\0\0\0\0"s, 2), "3 frames was sent: 2 to 2");
  EXPECT_ERROR(clip_frames("EG4DCLIP\xff\xff\xff\xff"s, 25), "4294967295 frames");
  EXPECT_ERROR(clip_frames("EG4DCLIP\2\0\0\0\1\0\0\0x"s, 25), "cut off");
  EXPECT_ERROR(clip_frames("EG4DCLIP\2\0\0\0\1\0\0\0x\xff\xff\xff\xff"s, 25), "cut off");
  EXPECT_ERROR(clip_frames("EG4DCLIP\2\0\0\0\0\0\0\0\0\0\0\0x"s, 25), "follows the video's last frame");
}

}  // namespace
}  // namespace eg4d
