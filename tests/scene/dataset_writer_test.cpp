#include "scene/dataset_writer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "io/video.h"
#include "scene/camera.h"
#include "scene/frame_interpolation.h"
#include "scene/frame_source.h"
#include "support/environment.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

Picture gray(int side, uint8_t level) {
  Picture picture(side, side, 3);
  std::fill(picture.data.begin(), picture.data.end(), level);
  return picture;
}

uint8_t level_of(int time, int view) {
  return static_cast<uint8_t>(20 + time * 50 + view);
}

void write_all(const DatasetWriter& reader, DatasetWriter& writer, const OrbitDataset& dataset) {
  for (int time = 0; time < dataset.times; ++time)
    for (int view = 0; view < dataset.views; ++view)
      if (!reader.has(time, view)) writer.write(time, view, gray(16, level_of(time, view)));
}

TEST(DatasetWriter, WritesTheBlenderLayout) {
  const TemporaryFolder folder;
  const OrbitDataset dataset{.times = 3, .views = 4, .elevation = 10};
  DatasetWriter writer(folder.path(), dataset);
  write_all(writer, writer, dataset);
  writer.finish();

  const auto train = nlohmann::json::parse(test::read_text(folder / "transforms_train.json"));
  ASSERT_EQ(train["frames"].size(), 9u);
  EXPECT_DOUBLE_EQ(train["camera_angle_x"], 0.6911112070083618);
  for (const auto& frame : train["frames"]) {
    const int time = frame["time_index"], view = frame["view_index"];
    EXPECT_DOUBLE_EQ(frame["time"], time / 2.0);
    EXPECT_EQ(frame["file_path"].get<std::string>(),
              "views/0000000" + std::to_string(view + 1) + "/images/00000" + std::to_string(time));
    const Picture picture = read_picture(folder.path() / (frame["file_path"].get<std::string>() + ".png"));
    EXPECT_EQ(picture.data[0], level_of(time, view));
    const Matrix4 pose = orbit_camera_to_world(90.0 * view, 10, 4);
    for (int row = 0; row < 4; ++row)
      for (int column = 0; column < 4; ++column)
        EXPECT_DOUBLE_EQ(frame["transform_matrix"][row][column], pose(row, column));
  }
  const auto test_split = nlohmann::json::parse(test::read_text(folder / "transforms_test.json"));
  ASSERT_EQ(test_split["frames"].size(), 3u);
  EXPECT_EQ(test_split["frames"][2]["view_index"], 0);
  EXPECT_EQ(test::read_text(folder / "transforms_val.json"),
            test::read_text(folder / "transforms_test.json"));
  EXPECT_TRUE(fs::is_symlink(folder / "views/00000002/images/000001.png"));

  VideoReader back(folder / "back.mp4");
  int frames = 0;
  while (const auto frame = back.next()) EXPECT_NEAR(frame->data[0], level_of(frames++, 1), 4);
  EXPECT_EQ(frames, 3);
  writer.finish();  // again, over what is there
}

TEST(DatasetWriter, NamesAMissingOrDifferentPicture) {
  const TemporaryFolder folder;
  const OrbitDataset dataset{.times = 1, .views = 2};
  DatasetWriter writer(folder.path(), dataset);
  writer.write(0, 0, gray(16, 3));
  EXPECT_ERROR(writer.finish(), "00000002.png");
  writer.write(0, 1, gray(18, 3));
  EXPECT_ERROR(writer.finish(), "18×18");
  EXPECT_FALSE(fs::exists(folder / "transforms_train.json"));
  EXPECT_THROW(DatasetWriter(folder.path(), {.times = 0}), UsageError);
}

TEST(FrameSource, ReadsFoldersInNumberOrderAndSkipsBlackFrames) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "run");
  fs::create_directory(folder / "run/video");
  for (const int index : {10, 9, 2})
    write_png(folder / ("run/video/f_" + std::to_string(index) + ".png"), gray(8, index));
  write_png(folder / "run/video/f_3.png", gray(8, 0));
  test::write_text(folder / "run/video/notes.txt", "x");
  const auto keep = [](const Picture& picture) { return picture; };
  const auto frames = read_frames(folder / "run", 3, keep);
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(frames[0].data[0], 2);
  EXPECT_EQ(frames[1].data[0], 9);
  EXPECT_EQ(frames[2].data[0], 10);
  EXPECT_ERROR(read_frames(folder / "run", 2, keep), "more than 2 frames");
  EXPECT_ERROR(read_frames(folder / "nowhere", 2, keep), "nowhere");
  fs::create_directory(folder / "empty");
  EXPECT_ERROR(read_frames(folder / "empty", 2, keep), "no pictures");
  write_png(folder / "empty/0.png", gray(8, 0));
  EXPECT_ERROR(read_frames(folder / "empty", 2, keep), "not wholly black");
  EXPECT_ERROR(read_frames(folder / "run/video/notes.txt", 2, keep), "notes.txt");
}

TEST(FrameSource, ReadsVideos) {
  const TemporaryFolder folder;
  VideoWriter writer(folder / "v.mp4", 16, 16);
  for (const int level : {40, 90, 140}) writer.add(gray(16, static_cast<uint8_t>(level)));
  writer.finish();
  const auto frames = read_frames(folder / "v.mp4", 10, [](const Picture& picture) { return picture; });
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_NEAR(frames[2].data[0], 140, 4);
}

// A stand-in for the external program: doubles every picture.
constexpr const char* kFakeProgram = R"(#!/bin/sh
while [ $# -gt 0 ]; do case $1 in -i) in=$2;; -o) out=$2;; esac; shift 2; done
n=1; for f in "$in"/*.png; do for k in 1 2; do cp "$f" "$out/$(printf %06d $n).png"; n=$((n+1)); done; done
[ ! -e "$0.fails" ] || { echo "no GPU" >&2; exit 3; }
)";

TEST(FrameInterpolation, MakesADenserDataset) {
  const TemporaryFolder folder;
  const OrbitDataset dataset{.times = 2, .views = 2};
  DatasetWriter writer(folder / "data", dataset);
  write_all(writer, writer, dataset);
  writer.finish();
  if (fs::exists("/usr/bin/rife-ncnn-vulkan")) GTEST_SKIP() << "the real program is installed";
  EXPECT_ERROR(interpolate_dataset(folder / "data", folder / "denser", dataset, 2), "rife-ncnn-vulkan");

  test::write_text(folder / "rife-ncnn-vulkan", kFakeProgram);
  chmod((folder / "rife-ncnn-vulkan").c_str(), 0755);
  const test::WithEnvironment path("PATH", folder.path().string() + ":" + std::getenv("PATH"));
  interpolate_dataset(folder / "data", folder / "denser", dataset, 2);
  const auto train = nlohmann::json::parse(test::read_text(folder / "denser/transforms_train.json"));
  EXPECT_EQ(train["frames"].size(), 4u);
  EXPECT_EQ(read_picture(folder / "denser/views/00000002/images/000003.png").data[0], level_of(1, 1));
  EXPECT_FALSE(fs::exists(folder / "denser/.interpolating"));

  test::write_text(folder / "rife-ncnn-vulkan.fails", "");
  EXPECT_ERROR(interpolate_dataset(folder / "data", folder / "denser", dataset, 2), "no GPU");
}

}  // namespace
}  // namespace eg4d
