#include "io/video.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/places.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

using test::TemporaryFolder;

// A smooth picture whose colour moves with time.
Picture moving(int width, int height, int time) {
  Picture picture(width, height, 3);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      uint8_t* to = &picture.data[(static_cast<size_t>(y) * width + x) * 3];
      to[0] = static_cast<uint8_t>(128 + 100 * std::sin(0.05 * x + 0.3 * time));
      to[1] = static_cast<uint8_t>(128 + 100 * std::sin(0.05 * y));
      to[2] = static_cast<uint8_t>(20 * time);
    }
  return picture;
}

double mean_difference(const Picture& a, const Picture& b) {
  double sum = 0;
  for (size_t i = 0; i < a.data.size(); ++i) sum += std::abs(a.data[i] - b.data[i]);
  return sum / static_cast<double>(a.data.size());
}

void write_video(const std::filesystem::path& path, int width, int height, int frames,
                 const VideoOptions& options = {}) {
  VideoWriter writer(path, width, height, options);
  for (int time = 0; time < frames; ++time) writer.add(moving(width, height, time));
  writer.finish();
}

void expect_frames(const std::filesystem::path& path, int width, int height, int frames, double tolerance) {
  VideoReader reader(path);
  EXPECT_DOUBLE_EQ(reader.fps(), 10);
  EXPECT_EQ(reader.frame_count(), frames);
  for (int time = 0; time < frames; ++time) {
    const auto frame = reader.next();
    ASSERT_TRUE(frame.has_value()) << time;
    ASSERT_EQ(frame->width, width);
    ASSERT_EQ(frame->height, height);
    EXPECT_LT(mean_difference(*frame, moving(width, height, time)), tolerance) << time;
  }
  EXPECT_FALSE(reader.next().has_value());
  EXPECT_FALSE(reader.next().has_value());
}

TEST(Video, RoundTrip) {
  EG4D_TEST_NEEDS_VIDEO();
  TemporaryFolder folder;
  write_video(folder / "a.mp4", 96, 64, 7);
  expect_frames(folder / "a.mp4", 96, 64, 7, 3);
  EXPECT_EQ(folder.file_count(), 1u);
}

TEST(Video, TheOtherEncoderServesToo) {
  EG4D_TEST_NEEDS_VIDEO();
  TemporaryFolder folder;
  write_video(folder / "a.mp4", 96, 64, 5, {.encoder = "mpeg4"});
  expect_frames(folder / "a.mp4", 96, 64, 5, 4);
}

TEST(Video, OddSizesArePadded) {
  EG4D_TEST_NEEDS_VIDEO();
  TemporaryFolder folder;
  write_video(folder / "a.mp4", 45, 31, 2);
  VideoReader reader(folder / "a.mp4");
  const Picture frame = reader.next().value();
  EXPECT_EQ(frame.width, 46);
  EXPECT_EQ(frame.height, 32);
  write_video(folder / "b.mp4", 1, 1, 1);
  EXPECT_EQ(VideoReader(folder / "b.mp4").next().value().width, 2);
}

TEST(Video, WritingIsRepeatable) {
  EG4D_TEST_NEEDS_VIDEO();
  TemporaryFolder folder;
  write_video(folder / "a.mp4", 192, 192, 5);
  const std::string first = test::read_text(folder / "a.mp4");
  for (int again = 0; again < 5; ++again) {
    write_video(folder / "b.mp4", 192, 192, 5);
    EXPECT_EQ(first, test::read_text(folder / "b.mp4"));
  }
}

TEST(Video, TheWriterSaysWhatIsWrong) {
  EG4D_TEST_NEEDS_VIDEO();
  TemporaryFolder folder;
  {
    VideoWriter writer(folder / "a.mp4", 16, 16);
    EXPECT_ERROR(writer.add(moving(16, 18, 0)),
                 "frame 0 has 16x18 pixels and 3 channels, the video 16x16 and 3");
    EXPECT_ERROR(writer.finish(), "the video has no frames");
  }
  EXPECT_ERROR(VideoWriter(folder / "a.mp4", 0, 16), "a video of 0x16 pixels is not possible");
  EXPECT_ERROR(VideoWriter(folder / "a.mp4", 16, 16, {.fps = NAN}), "frames per second");
  EXPECT_ERROR(VideoWriter(folder / "a.mp4", 16, 16, {.encoder = "none"}), "no encoder none");
  EXPECT_ERROR(VideoWriter(folder / "missing/a.mp4", 16, 16), "No such file or directory");
  EXPECT_ERROR(VideoWriter(folder.path(), 16, 16), "it is a directory");
  EXPECT_ERROR(write_video("/dev/full", 64, 64, 3), "cannot write '/dev/full'");
  EXPECT_EQ(folder.file_count(), 0u);
}

TEST(Video, AFullDiskLeavesNothingBehind) {
  EG4D_TEST_NEEDS_VIDEO();
  TemporaryFolder folder;
  {
    const test::FullDisk disk(1000);
    EXPECT_ERROR(write_video(folder / "a.mp4", 96, 64, 12), "cannot write");
  }
  EXPECT_EQ(folder.file_count(), 0u);
}

TEST(Video, BadFilesAreNamed) {
  EG4D_TEST_NEEDS_VIDEO();
  TemporaryFolder folder;
  EXPECT_ERROR(VideoReader(folder / "missing.mp4"), "missing.mp4': No such file or directory");
  EXPECT_ERROR(VideoReader(folder.path()), "it is a directory");
  test::write_text(folder / "empty.mp4", "");
  EXPECT_ERROR(VideoReader(folder / "empty.mp4"), "the file is empty");
  test::write_text(folder / "text.mp4", "this is no video");
  EXPECT_ERROR(VideoReader(folder / "text.mp4"), "text.mp4': it is not a video that FFmpeg reads");
  std::string wave("RIFF\x34\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\x10\0\0\0",
                   44);
  test::write_text(folder / "sound.wav", wave + std::string(16, '\x80'));
  EXPECT_ERROR(VideoReader(folder / "sound.wav"), "it holds no video");
  write_video(folder / "a.mp4", 64, 48, 3);
  EXPECT_ERROR(VideoReader(folder / "a.mp4", {.max_side = 63}),
               "64x48 pixels is more than the limit of 63 a side");
}

TEST(Video, TruncationIsAnError) {
  EG4D_TEST_NEEDS_VIDEO();
  TemporaryFolder folder;
  write_video(folder / "a.mp4", 96, 64, 8);
  const std::string file = test::read_text(folder / "a.mp4");
  for (const double share : {0.02, 0.3, 0.6, 0.95}) {
    test::write_text(folder / "cut.mp4",
                     file.substr(0, static_cast<size_t>(share * static_cast<double>(file.size()))));
    EXPECT_ERROR(
        {
          VideoReader reader(folder / "cut.mp4");
          while (reader.next()) continue;
        },
        "cannot read '");
  }
}

// ISO 14496-12, 8.3.2: the track header's matrix (a b u; c d v; x y w) takes (p, q) to (a·p + c·q, b·p +
// d·q). With a = d = 0, b = 1, c = -1, right becomes down: a quarter turn clockwise, as telephones write it.
TEST(Video, TheDisplayMatrixIsApplied) {
  EG4D_TEST_NEEDS_VIDEO();
  TemporaryFolder folder;
  Picture corner(64, 32, 3);
  for (int y = 0; y < 16; ++y)
    for (int x = 0; x < 16 * 3; ++x) corner.data[static_cast<size_t>(y) * 64 * 3 + x] = 255;  // top left
  VideoWriter writer(folder / "a.mp4", 64, 32);
  writer.add(corner);
  writer.finish();
  std::string file = test::read_text(folder / "a.mp4");
  const size_t matrix = file.find("tkhd") + 44;
  ASSERT_LT(matrix + 36, file.size());
  const std::string zero(4, '\0'), one("\0\1\0\0", 4), minus_one("\xff\xff\0\0", 4);
  file.replace(matrix, 4, zero);
  file.replace(matrix + 4, 4, one);
  file.replace(matrix + 12, 4, minus_one);
  file.replace(matrix + 16, 4, zero);
  test::write_text(folder / "a.mp4", file);
  const Picture upright = VideoReader(folder / "a.mp4").next().value();
  ASSERT_EQ(upright.width, 32);
  ASSERT_EQ(upright.height, 64);
  EXPECT_GT(upright.data[(8 * 32 + 24) * 3], 200);  // top right
  EXPECT_LT(upright.data[(8 * 32 + 8) * 3], 50);
  EXPECT_LT(upright.data[(56 * 32 + 8) * 3], 50);
}

// An MP4 whose index lists no sample: the track stays, its frames are gone.
TEST(Video, AVideoWithoutFramesIsAnError) {
  EG4D_TEST_NEEDS_VIDEO();
  TemporaryFolder folder;
  write_video(folder / "a.mp4", 32, 32, 1);
  std::string file = test::read_text(folder / "a.mp4");
  for (const char* box : {"stsz", "stts", "stsc", "stco"}) {
    const size_t at = file.find(box);
    ASSERT_NE(at, std::string::npos);
    file.replace(at + (std::string(box) == "stsz" ? 12 : 8), 4, 4, '\0');
  }
  test::write_text(folder / "a.mp4", file);
  EXPECT_ERROR(
      {
        VideoReader reader(folder / "a.mp4");
        reader.next();
      },
      "no frames");
}

// A disc that is half covered, on nothing.
Picture with_alpha(int width, int height) {
  Picture picture(width, height, 4);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      uint8_t* to =
          &picture.data[(static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)) * 4];
      to[0] = 180;
      to[1] = 90;
      to[2] = static_cast<uint8_t>(40 + x);
      to[3] = std::hypot(x - width / 2, y - height / 2) < height / 3 ? 128 : 0;
    }
  return picture;
}

TEST(Video, WebmAndMovKeepAlpha) {
  EG4D_TEST_NEEDS_VIDEO();
  TemporaryFolder folder;
  for (const char* name : {"a.webm", "a.mov"}) {
    SCOPED_TRACE(name);
    VideoOptions options;
    options.alpha = true;
    options.fps = 12.5;
    const Picture picture = with_alpha(64, 48);
    for (const char* copy : {"", "again_"}) {
      VideoWriter writer(folder / (copy + std::string(name)), 64, 48, options);
      for (int i = 0; i < 5; ++i) writer.add(picture);
      writer.finish();
    }
    EXPECT_EQ(test::read_text(folder / name), test::read_text(folder / ("again_" + std::string(name))));
    VideoReader reader(folder / name, {}, true);
    EXPECT_NEAR(reader.fps(), 12.5, 1e-6);
    int frames = 0;
    while (const auto frame = reader.next()) {
      ASSERT_EQ(frame->channels, 4);
      EXPECT_LT(mean_difference(*frame, picture), 6);
      EXPECT_NEAR(frame->data[(24 * 64 + 32) * 4 + 3], 128, 12);
      EXPECT_LT(frame->data[3], 8);
      ++frames;
    }
    EXPECT_EQ(frames, 5);
    EXPECT_EQ(VideoReader(folder / name).next()->channels, 3);  // who does not ask gets colours alone
  }
}

TEST(Video, AlphaIsRefusedWhereThereIsNone) {
  EG4D_TEST_NEEDS_VIDEO();
  TemporaryFolder folder;
  VideoOptions options;
  options.alpha = true;
  EXPECT_ERROR(VideoWriter(folder / "a.mp4", 64, 48, options),
               "MP4 has no transparency; name it .webm or .mov");
  EXPECT_FALSE(std::filesystem::exists(folder / "a.mp4"));
  write_video(folder / "b.mp4", 32, 32, 1);
  EXPECT_EQ(VideoReader(folder / "b.mp4", {}, true).next()->channels, 3);
  VideoWriter writer(folder / "c.webm", 64, 48, options);
  EXPECT_ERROR(writer.add(moving(64, 48, 0)), "3 channels, the video 64x48 and 4");
}

}  // namespace
}  // namespace eg4d
