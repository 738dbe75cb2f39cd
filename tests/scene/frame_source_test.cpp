#include "scene/frame_source.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "io/video.h"
#include "support/expect_error.h"
#include "support/places.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

// A frame whose grey tells its number.
Picture numbered(int number) {
  Picture picture(16, 16, 3);
  std::fill(picture.data.begin(), picture.data.end(), static_cast<uint8_t>(10 * number));
  return picture;
}

std::vector<int> numbers(const std::filesystem::path& source, int count) {
  std::vector<int> found;
  for (const Picture& frame : read_frames_evenly(source, count, [](const Picture& read) { return read; }))
    found.push_back((frame.data[0] + 5) / 10);
  return found;
}

TEST(FramesEvenly, OfAFolderHaveTheFirstAndTheLast) {
  const test::TemporaryFolder folder;
  for (int i = 0; i < 9; ++i) write_png(folder / fmt::format("frame_{}.png", i), numbered(i));
  EXPECT_EQ(numbers(folder.path(), 5), (std::vector{0, 2, 4, 6, 8}));
  EXPECT_EQ(numbers(folder.path(), 4), (std::vector{0, 3, 5, 8}));
  EXPECT_EQ(numbers(folder.path(), 2), (std::vector{0, 8}));
  EXPECT_EQ(numbers(folder.path(), 1), (std::vector{0}));
  EXPECT_EQ(numbers(folder.path(), 25).size(), 9u) << "there are no more";
  EXPECT_ERROR(numbers(folder / "nothing", 5), "there is no video or folder");
}

TEST(FramesEvenly, OfAVideoAreThoseOfItsFolder) {
  EG4D_TEST_NEEDS_VIDEO();
  const test::TemporaryFolder folder;
  VideoWriter writer(folder / "clip.mp4", 16, 16);
  for (int i = 0; i < 9; ++i) writer.add(numbered(i));
  writer.finish();
  EXPECT_EQ(numbers(folder / "clip.mp4", 4), (std::vector{0, 3, 5, 8}));
  EXPECT_EQ(numbers(folder / "clip.mp4", 25).size(), 9u);
}

}  // namespace
}  // namespace eg4d
