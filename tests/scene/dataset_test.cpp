#include "scene/dataset.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "io/image.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json frame(const std::string& file = "a") {
  return {{"file_path", file},
          {"time", 0.5},
          {"transform_matrix", {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 4}, {0, 0, 0, 1}}}};
}

json transforms() {
  return {{"camera_angle_x", 0.7}, {"frames", {frame()}}};
}

DatasetSplit parse(const json& root) {
  return parse_transforms(root.dump(), "folder", "train");
}

TEST(ParseTransforms, ReadsPerFrameIntrinsics) {
  json root = transforms();
  root["frames"][0]["fl_x"] = 100;
  root["frames"][0]["fl_y"] = 200;
  root["frames"][0]["w"] = 200;
  root["frames"][0]["h"] = 400;
  root["frames"][0]["cx"] = 90;
  const DatasetFrame read = parse(root).frames.at(0);
  EXPECT_NEAR(read.intrinsics.fov_x, 2 * std::atan(1.0), 1e-12);
  EXPECT_NEAR(*read.intrinsics.fov_y, 2 * std::atan(1.0), 1e-12);
  EXPECT_EQ(*read.intrinsics.center_x, 90);
  EXPECT_FALSE(read.intrinsics.center_y);
  EXPECT_EQ(read.time, 0.5);
}

TEST(ParseTransforms, SaysWhatIsWrong) {
  EXPECT_ERROR(parse_transforms("{", "folder", "train"), "not valid JSON");
  EXPECT_ERROR(parse(json::array()), "no 'frames' list");
  EXPECT_ERROR(parse({{"camera_angle_x", 0.7}}), "no 'frames' list");
  EXPECT_ERROR(parse({{"camera_angle_x", 0.7}, {"frames", json::array()}}), "lists no frames");
  const auto with = [](const char* key, const json& value) {
    json root = transforms();
    root["frames"][0][key] = value;
    return root;
  };
  EXPECT_ERROR(parse(with("file_path", 3)), "frame 0 has no 'file_path'");
  EXPECT_ERROR(parse(with("transform_matrix", 3)), "not a 4×4 matrix");
  EXPECT_ERROR(parse(with("transform_matrix", {{1, 2}, {3, 4}, 5, 6})), "not a 4×4 matrix");
  EXPECT_ERROR(
      parse(with("transform_matrix", json::array({{1, 0, 0, 0}, {1, 0, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}}))),
      "no inverse");
  EXPECT_ERROR(parse(with("time", "soon")), "'time' is not a number");
  EXPECT_ERROR(parse(with("time", -1)), "'time' is negative");
  EXPECT_ERROR(parse(with("time_index", 1e30)), "'time_index' is out of range");
  json root = transforms();
  root.erase("camera_angle_x");
  EXPECT_ERROR(parse(root), "no usable field of view");
}

TEST(ParseTransforms, BothFieldsOfViewMustBeUsable) {
  const auto with = [](std::initializer_list<std::pair<const char*, double>> values) {
    json root = transforms();
    for (const auto& [key, value] : values) root[key] = value;
    return root;
  };
  EXPECT_EQ(*parse(with({{"camera_angle_y", 0.6}})).frames[0].intrinsics.fov_y, 0.6);
  EXPECT_FALSE(parse(with({{"camera_angle_y", 0}})).frames[0].intrinsics.fov_y);
  for (const double angle : {-0.6, 1e-9, 3.1416, 6.0, 1e300})
    EXPECT_ERROR(parse(with({{"camera_angle_y", angle}})), "no usable vertical field of view");
  for (const double angle : {-0.6, 0.0, 3.1416})
    EXPECT_ERROR(parse(with({{"camera_angle_x", angle}})), "no usable field of view");
  EXPECT_ERROR(parse(with({{"fl_y", 1e-300}, {"h", 100}})), "no usable vertical field of view");
  EXPECT_ERROR(parse(with({{"fl_y", 1e9}, {"h", 100}})), "no usable vertical field of view");
  for (const char* key : {"fl_x", "fl_y", "w", "h"})
    EXPECT_ERROR(parse(with({{key, -100}})), fmt::format("'{}' is negative", key));
  json root = transforms();
  root["frames"][0]["camera_angle_y"] = -1;
  EXPECT_ERROR(parse(root), "frame 0: no usable vertical field of view");
  EXPECT_ERROR(parse_transforms(R"({"camera_angle_x": NaN, "frames": [{}]})", "folder", "train"),
               "not valid JSON");
  EXPECT_ERROR(parse_transforms(std::string(100000, '['), "folder", "train"), "nests");
}

class DatasetFolder : public ::testing::Test {
 protected:
  void SetUp() override { test::write_tiny_dataset(folder_.path(), 3, 2, 16, 12); }
  const test::TemporaryFolder folder_;
};

TEST_F(DatasetFolder, ReadsEverySplitByName) {
  fs::copy_file(folder_ / "transforms_test.json", folder_ / "transforms_novel.json");
  const Dataset dataset(folder_.path());
  EXPECT_EQ(dataset.split_names(), (std::vector<std::string>{"novel", "test", "train"}));
  EXPECT_EQ(dataset.read_split("train").frames.size(), 4u);
  EXPECT_EQ(dataset.read_split("novel").frames.size(), 2u);
  EXPECT_EQ(dataset.read_split("train").frames[0].width, 16);
  EXPECT_EQ(dataset.largest_time(), 1);
  EXPECT_ERROR(dataset.read_split("other"), "it has: novel, test, train");
}

TEST_F(DatasetFolder, SaysWhatIsWrongBeforeWorkStarts) {
  EXPECT_ERROR(Dataset(folder_ / "nowhere"), "does not exist");
  EXPECT_ERROR(Dataset(folder_ / "transforms_train.json"), "is not a folder");
  fs::create_directory(folder_ / "empty");
  EXPECT_ERROR(Dataset(folder_ / "empty"), "no transforms_train.json");

  const fs::path picture = Dataset(folder_.path()).read_split("train").frames.back().file;
  const std::string bytes = test::read_text(picture);
  const Dataset dataset(folder_.path());
  fs::remove(picture);
  EXPECT_ERROR(dataset.read_split("train"), "does not exist");
  test::write_text(picture, bytes.substr(0, 10));
  EXPECT_ERROR(dataset.read_split("train"), picture.filename().string());
  write_png(picture, Picture(17, 12, 3));
  EXPECT_ERROR(dataset.read_split("train"), "differ in size");
}

TEST_F(DatasetFolder, TheFingerprintSeesEveryPixel) {
  const Dataset dataset(folder_.path());
  const uint64_t before = dataset.fingerprint();
  EXPECT_EQ(dataset.fingerprint(), before);
  const fs::path picture = dataset.read_split("train").frames.back().file;
  Picture changed = read_picture(picture);
  changed.data.back() ^= 1;
  write_png(picture, changed);
  EXPECT_NE(dataset.fingerprint(), before);
}

TEST_F(DatasetFolder, TheFingerprintNeedsEveryFile) {
  const Dataset dataset(folder_.path());
  const fs::path picture = dataset.read_split("train").frames.back().file;
  fs::remove(picture);
  EXPECT_ERROR(dataset.fingerprint(), picture.filename().string());
  fs::create_directory(picture);
  EXPECT_ERROR(dataset.fingerprint(), "is a directory");
}

TEST_F(DatasetFolder, ASplitIsReadOnce) {
  const Dataset dataset(folder_.path());
  const DatasetSplit& train = dataset.read_split("train");
  fs::remove(folder_ / "transforms_train.json");
  EXPECT_EQ(&dataset.read_split("train"), &train);
}

}  // namespace
}  // namespace eg4d
