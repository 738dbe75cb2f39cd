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
#include "support/places.h"
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
  return static_cast<uint8_t>(20 + time * 60 + view * 12);
}

void write_all(const DatasetWriter& reader, DatasetWriter& writer, const OrbitDataset& dataset) {
  for (int time = 0; time < dataset.times; ++time)
    for (int view = 0; view < dataset.views; ++view)
      if (!reader.has(time, view)) writer.write(time, view, gray(16, level_of(time, view)));
}

TEST(DatasetWriter, WritesTheBlenderLayout) {
  EG4D_TEST_NEEDS_VIDEO();
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

  // Five rounds through the times: from behind, and meanwhile around the object.
  VideoReader back(folder / "back.mp4"), together(folder / "4d.mp4");
  for (int i = 0; i < 15; ++i) {
    const auto behind = back.next(), around = together.next();
    ASSERT_TRUE(behind && around) << i;
    EXPECT_NEAR(behind->data[0], level_of(i % 3, 2), 5) << i;
    EXPECT_NEAR(around->data[0], level_of(i % 3, i / 2 % 4), 5) << i;
  }
  EXPECT_FALSE(back.next());
  EXPECT_FALSE(together.next());
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
  EG4D_TEST_NEEDS_VIDEO();
  EXPECT_ERROR(read_frames(folder / "run/video/notes.txt", 2, keep), "notes.txt");
}

TEST(FrameSource, ReadsVideos) {
  EG4D_TEST_NEEDS_VIDEO();
  const TemporaryFolder folder;
  VideoWriter writer(folder / "v.mp4", 16, 16);
  for (const int level : {40, 90, 140}) writer.add(gray(16, static_cast<uint8_t>(level)));
  writer.finish();
  const auto frames = read_frames(folder / "v.mp4", 10, [](const Picture& picture) { return picture; });
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_NEAR(frames[2].data[0], 140, 4);
}

// A stand-in for the external program that keeps its rules: its default model makes twice as many pictures
// and no other number; only regular files are pictures, links are not; it cannot do with one picture; of N
// pictures made of `count`, number k is taken at position k·count/N (here the nearer picture), from the last
// one on it is the last; names are made by the pattern, counted from 1.
constexpr const char* kFakeProgram = R"(#!/bin/sh
model=rife-v2.3 format=%08d.png
while [ $# -gt 1 ]; do
  case $1 in -i) in=$2;; -o) out=$2;; -n) wanted=$2;; -m) model=$2;; -f) format=$2;; esac; shift 2
done
case $model in rife-v4*) ;; *) [ -z "$wanted" ] || { echo "only rife-v4 model support custom numframe" >&2; exit 255; };; esac
[ ! -e "$0.fails" ] || { echo "no GPU" >&2; exit 3; }
count=0
for file in "$in"/*; do
  if [ -f "$file" ] && [ ! -h "$file" ]; then eval "file$count=\$file"; count=$((count+1)); fi
done
[ $count -gt 1 ] || { echo "segmentation fault" >&2; exit 139; }
wanted=${wanted:-$((2*count))} k=0
while [ $k -lt $wanted ]; do
  at=$((k*count/wanted)) rest=$((k*count%wanted))
  [ $((2*rest)) -lt $wanted ] || at=$((at+1))
  [ $((k*count/wanted)) -lt $((count-1)) ] || at=$((count-1))
  k=$((k+1))
  eval "cp \"\$file$at\" \"$out/$(printf $format $k)\""
done
)";

class FrameInterpolation : public ::testing::Test {
 protected:
  void SetUp() override {
    EG4D_TEST_NEEDS_VIDEO();
    DatasetWriter writer(folder_ / "data", dataset_);
    write_all(writer, writer, dataset_);
    writer.finish();
    fs::create_directory(folder_ / "bin");
    test::write_text(folder_ / "bin/rife-ncnn-vulkan", kFakeProgram);
    chmod((folder_ / "bin/rife-ncnn-vulkan").c_str(), 0755);
  }

  void views(const Interpolation& how, OrbitEnd end = OrbitEnd::closed) {
    interpolate_views(folder_ / "data", folder_ / "denser", dataset_, how, end, silent_);
  }
  void times(const Interpolation& how) {
    interpolate_times(folder_ / "data", folder_ / "denser", dataset_, how, silent_);
  }
  uint8_t level(int time, int view) const {
    return read_picture(DatasetWriter(folder_ / "denser", dataset_).picture_path(time, view)).data[0];
  }
  nlohmann::json split(const char* name) const {
    return nlohmann::json::parse(
               test::read_text(folder_ / "denser" / (std::string("transforms_") + name + ".json")))
        .at("frames");
  }

  const OrbitDataset dataset_{.times = 3, .views = 4, .elevation = 10};
  const test::TemporaryFolder folder_;
  const test::WithEnvironment path_{"PATH", (folder_ / "bin").string() + ":" + std::getenv("PATH")};
  Progress silent_;
};

// The orbit is closed: behind the last view lies the first one.
TEST_F(FrameInterpolation, MakesViewsAllAroundTheObject) {
  views({.factor = 4});
  for (int time = 0; time < 3; ++time)
    for (int view = 0; view < 16; ++view)
      EXPECT_EQ(level(time, view), level_of(time, (view + 2) / 4 % 4)) << time << ", " << view;
  EXPECT_FALSE(fs::exists(folder_ / "denser/.interpolating"));
  const auto train = split("train"), tests = split("test");
  ASSERT_EQ(train.size(), 45u);
  ASSERT_EQ(tests.size(), 3u);
  for (const auto& frame : train) {
    const int view = frame["view_index"], time = frame["time_index"];
    EXPECT_DOUBLE_EQ(frame["time"], time / 2.0);
    const Matrix4 pose = orbit_camera_to_world(22.5 * view, 10, 4);
    for (int row = 0; row < 4; ++row)
      for (int column = 0; column < 4; ++column)
        EXPECT_DOUBLE_EQ(frame["transform_matrix"][row][column], pose(row, column));
    const Picture picture =
        read_picture(folder_ / "denser" / (frame["file_path"].get<std::string>() + ".png"));
    EXPECT_EQ(picture.data[0], level(time, view));
  }
  for (const auto& frame : tests) EXPECT_EQ(frame["view_index"], 0);
}

// As published: nothing is behind the last view, so it is repeated.
TEST_F(FrameInterpolation, AnOpenOrbitEndsWithItsLastView) {
  views({.factor = 4}, OrbitEnd::open);
  for (int view = 0; view < 16; ++view)
    EXPECT_EQ(level(1, view), level_of(1, std::min((view + 2) / 4, 3))) << view;
  EXPECT_EQ(split("train").size(), 45u);
}

TEST_F(FrameInterpolation, MakesTimesFromTheFirstToTheLast) {
  times({.factor = 4});
  for (int view = 0; view < 4; ++view)
    for (int time = 0; time < 9; ++time)
      EXPECT_EQ(level(time, view), level_of((time + 2) / 4, view)) << time << ", " << view;
  EXPECT_FALSE(fs::exists(folder_ / "denser/000009"));
  const auto train = split("train");
  ASSERT_EQ(train.size(), 27u);
  for (const auto& frame : train) {
    EXPECT_DOUBLE_EQ(frame["time"], frame["time_index"].get<int>() / 8.0);
    EXPECT_NE(frame["view_index"], 0);
  }
}

TEST_F(FrameInterpolation, ContinuesWithWhatIsMissing) {
  times({.factor = 2});
  const fs::path kept = folder_ / "denser/000001/00000001.png", lost = folder_ / "denser/000001/00000003.png";
  write_png(kept, gray(16, 9));
  fs::remove(lost);
  times({.factor = 2});
  EXPECT_EQ(level(1, 0), 9);
  EXPECT_TRUE(fs::exists(lost));
}

TEST_F(FrameInterpolation, SaysWhatIsWrong) {
  EXPECT_ERROR(views({.factor = 1}), "must be 2 or more");
  EXPECT_ERROR(views({.model = "rife-v2.3"}), "rife-v4");
  EXPECT_ERROR(interpolate_times(folder_ / "data", folder_ / "denser", {.times = 1, .views = 4}, {}, silent_),
               "one frame");
  test::write_text(folder_ / "bin/rife-ncnn-vulkan.fails", "");
  EXPECT_ERROR(views({}), "no GPU");
  EXPECT_FALSE(fs::exists(folder_ / "denser/.interpolating"));
  const test::WithEnvironment nothing("PATH", (folder_ / "data").string());
  EXPECT_ERROR(views({}), "rife-ncnn-vulkan on the PATH");
}

}  // namespace
}  // namespace eg4d
