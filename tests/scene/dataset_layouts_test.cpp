// Data sets of COLMAP, the Plenoptic Video data set and HyperNeRF.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "io/image.h"
#include "scene/colmap.h"
#include "scene/dataset.h"
#include "scene/dynerf.h"
#include "scene/hypernerf.h"
#include "support/expect_error.h"
#include "support/npy.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class DatasetLayouts : public testing::Test {
 protected:
  void picture(const fs::path& path, int width = 12, int height = 8) {
    fs::create_directories((folder_ / path).parent_path());
    write_png(folder_ / path, Picture(width, height, 3));
  }
  void text(const fs::path& path, const std::string& contents) {
    fs::create_directories((folder_ / path).parent_path());
    test::write_text(folder_ / path, contents);
  }
  test::TemporaryFolder folder_;
};

Bytes bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

template <class... Values>
std::string packed(Values... values) {
  std::string all;
  ((all.append(reinterpret_cast<const char*>(&values), sizeof values)), ...);
  return all;
}

const char* kCamerasText =
    "# number, model, size, parameters\n1 PINHOLE 640 480 320 240 320 240\n"
    "2 SIMPLE_RADIAL 100 50 50 50 25 0.1\n";

TEST_F(DatasetLayouts, ReadsColmapAsTextAndNot) {
  // A camera at (0,0,-3) that looks along the world's z, with its picture's up along the world's -y.
  const std::string images = "1 1 0 0 0 0 0 3 1 b c.png\n1 2 3\n2 1 0 0 0 0 0 3 2 a.png\n\n";
  text("sparse/0/cameras.txt", kCamerasText);
  text("sparse/0/images.txt", images);
  text("sparse/0/points3D.txt", "7 0.1 0.2 0.3 255 0 51 0.5 1 0 2 3\n");
  picture("images/a.png");
  picture("images/b c.png");
  const Dataset dataset(folder_.path());
  EXPECT_EQ(dataset.split_names(), (std::vector<std::string>{"test", "train"}));
  const DatasetFrame test = dataset.read_split("test").frames.at(0),
                     train = dataset.read_split("train").frames.at(0);
  EXPECT_EQ(test.file.filename(), "a.png");  // sorted by name, the first of eight
  EXPECT_EQ(train.file.filename(), "b c.png");
  EXPECT_NEAR(train.intrinsics.fov_x, 2 * std::atan(1.0), 1e-12);
  EXPECT_NEAR(*train.intrinsics.fov_y, 2 * std::atan(1.0), 1e-12);
  EXPECT_NEAR(test.intrinsics.fov_x, 2 * std::atan(1.0), 1e-12);
  EXPECT_NEAR(*test.intrinsics.fov_y, 2 * std::atan(0.5), 1e-12);
  const Camera camera = make_camera(train.camera_to_world, 12, 8, train.intrinsics);
  EXPECT_NEAR(camera.center[2], -3, 1e-6);
  EXPECT_NEAR(camera.world_to_view[0], 1, 1e-6);
  EXPECT_NEAR(camera.world_to_view[5], 1, 1e-6);
  EXPECT_NEAR(camera.world_to_view[10], 1, 1e-6);
  EXPECT_NEAR(camera.world_to_view[14], 3, 1e-6);
  EXPECT_EQ(dataset.largest_time(), 1);
  const PointCloud points = dataset.start_points();
  ASSERT_EQ(points.count(), 1);
  EXPECT_FLOAT_EQ(points.positions[2], 0.3f);
  EXPECT_FLOAT_EQ(points.colors[2], 0.2f);

  // The binary files say the same, and come first.
  const auto number = [](double value) { return packed(value); };
  std::string binary = packed(uint64_t{1}, int32_t{1}, int32_t{0}, uint64_t{640}, uint64_t{480});
  for (const double value : {160.0, 320.0, 240.0}) binary += number(value);
  text("sparse/0/cameras.bin", binary);
  binary = packed(uint64_t{1}, int32_t{1});
  for (const double value : {2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0}) binary += number(value);
  binary += packed(int32_t{1}) + std::string("a.png") + '\0' + packed(uint64_t{1}, 1.0, 2.0, int64_t{7});
  text("sparse/0/images.bin", binary);
  binary = packed(uint64_t{1}, uint64_t{7}, 1.0, 2.0, 3.0, uint8_t{51}, uint8_t{0}, uint8_t{255}, 0.5,
                  uint64_t{1}, int32_t{1}, int32_t{0});
  text("sparse/0/points3D.bin", binary);
  const Dataset second(folder_.path());
  EXPECT_EQ(second.split_names(), std::vector<std::string>{"train"});
  EXPECT_NEAR(second.read_split("train").frames.at(0).intrinsics.fov_x, 2 * std::atan(2.0), 1e-12);
  EXPECT_FLOAT_EQ(second.start_points().colors[0], 0.2f);
  EXPECT_NE(dataset.fingerprint(), second.fingerprint());
}

TEST_F(DatasetLayouts, DamagedColmapFilesAreSentences) {
  const auto cameras = [](const std::string& file, bool is_text) {
    return parse_colmap_cameras(bytes(file), is_text, "cameras");
  };
  EXPECT_EQ(cameras(kCamerasText, true).size(), 2u);
  EXPECT_ERROR(cameras("1 FISH 6 4 1 1 1 1", true), "line 1: its camera model is not known");
  EXPECT_ERROR(cameras("1 FOV 6 4 1 1 1 1 1", true), "image_undistorter");
  EXPECT_ERROR(cameras("1 PINHOLE 6 4 1 1", true), "ends too early");
  EXPECT_ERROR(cameras("1 PINHOLE 6 4 0 1 1 1", true), "out of range");
  EXPECT_ERROR(cameras("1 PINHOLE 6 4 nan 1 1 1", true), "NaN");
  EXPECT_ERROR(cameras("x PINHOLE 6 4 1 1 1 1", true), "'x' is no number");
  EXPECT_ERROR(cameras(packed(~uint64_t{0}), false), "ends too early");
  EXPECT_ERROR(cameras(packed(uint64_t{1}, int32_t{1}, int32_t{99}), false), "model 99 is not known");
  const auto images = [](const std::string& file, bool is_text) {
    return parse_colmap_images(bytes(file), is_text, "images");
  };
  EXPECT_ERROR(images("1 0 0 0 0 0 0 0 1 a.png\n\n", true), "no quaternion");
  EXPECT_ERROR(images("1 1 0 0 0 0 0 0 1 ../a.png\n\n", true), "leaves images/");
  EXPECT_ERROR(images("1 1 0 0 0 0 0 0 1 /a.png\n\n", true), "leaves images/");
  std::string endless = packed(uint64_t{1}, int32_t{1}, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, int32_t{1});
  EXPECT_ERROR(images(endless + "no end", false), "ends too early");
  EXPECT_ERROR(images(endless + "a" + '\0' + packed(~uint64_t{0} / 24 + 2), false), "ends too early");
  EXPECT_ERROR(parse_colmap_points(bytes("1 0 0 0 256 0 0 0"), true, "points"),
               "'256' is no number that fits");
  EXPECT_ERROR(parse_colmap_points(bytes("1 1e300 0 0 5 0 0 0"), true, "points"), "out of range");
  EXPECT_TRUE(parse_colmap_points({}, true, "points").positions.empty());

  text("sparse/0/cameras.txt", kCamerasText);
  EXPECT_ERROR(Dataset(folder_.path()), "has no images.bin or .txt");
  text("sparse/0/images.txt", "1 1 0 0 0 0 0 3 9 a.png\n\n");
  EXPECT_ERROR(Dataset(folder_.path()), "of camera 9, which is not there");
  text("sparse/0/images.txt", "1 1 0 0 0 0 0 3 1 a.png\n\n");
  EXPECT_ERROR(Dataset(folder_.path()).read_split("train"), "the dataset is incomplete");
}

TEST_F(DatasetLayouts, ADNerfFolderTakesColmapsPoints) {
  text("transforms_train.json", "{}");
  text("sparse/0/cameras.txt", "");  // what else lies there does not count
  text("colmap/0/points3D.txt", "7 0.1 0.2 0.3 255 0 51 0.5\n");
  EXPECT_EQ(Dataset(folder_.path()).split_names(), std::vector<std::string>{"train"});
  EXPECT_EQ(Dataset(folder_.path()).start_points().count(), 1);
}

// Down, right, back, position and (height, width, focal length), row by row; then the depths.
std::vector<double> pose_row(double x, double nearest) {
  return {0, 1, 0, x, 20, -1, 0, 0, 0, 40, 0, 0, 1, 5, 20, nearest, 100};
}

TEST_F(DatasetLayouts, ReadsThePlenopticVideoDataset) {
  std::vector<double> poses;
  for (const double x : {-1.0, 1.0, 3.0}) {
    const std::vector<double> row = pose_row(x, x == 1 ? 2 : 4);
    poses.insert(poses.end(), row.begin(), row.end());
  }
  const NpyArray array{{3, 17}, poses};
  const std::vector<DyNerfCamera> cameras = parse_poses_bounds(array, "poses");
  for (size_t i = 0; i < 3; ++i) {  // the mean is the world's frame, 0.75 · 2 its unit
    EXPECT_NEAR(cameras[i].camera_to_world(0, 3), (2.0 * static_cast<double>(i) - 2) / 1.5, 1e-12);
    EXPECT_NEAR(cameras[i].camera_to_world(2, 3), 0, 1e-12);
    for (int k = 0; k < 3; ++k) EXPECT_NEAR(cameras[i].camera_to_world(k, k), 1, 1e-12);  // a turn, no mirror
  }
  EXPECT_NEAR(cameras[0].intrinsics.fov_x, 2 * std::atan(1.0), 1e-12);
  EXPECT_NEAR(*cameras[0].intrinsics.fov_y, 2 * std::atan(0.5), 1e-12);

  text("poses_bounds.npy", test::npy_of(array.shape, poses));
  EXPECT_ERROR(Dataset(folder_.path()), "no cam*/images");
  test::write_text(folder_ / "cam00.mp4", "");
  EXPECT_ERROR(Dataset(folder_.path()), "ffmpeg -i");
  picture("cam00/images/0000.png", 2704, 4);
  picture("cam00/images/0001.png", 2704, 4);
  EXPECT_ERROR(Dataset(folder_.path()), "has 3 cameras, and there are 1 folders");
  for (const char* camera : {"cam01", "cam02"}) picture(fs::path(camera) / "images/0000.png", 2704, 4);
  const Dataset dataset(folder_.path());
  EXPECT_EQ(dataset.read_split("test").frames.size(), 2u);
  const DatasetFrame& later = dataset.read_split("test").frames.at(1);
  EXPECT_DOUBLE_EQ(later.time, 1.0 / 300);
  EXPECT_EQ(later.width, 1352);
  EXPECT_EQ(later.height, 2);
  EXPECT_EQ(dataset.read_split("train").frames.size(), 2u);
  EXPECT_EQ(dataset.start_points().count(), 0);
  EXPECT_FLOAT_EQ(*dataset.start_half_width(), 4.5f);
}

TEST_F(DatasetLayouts, PosesThatAreNoneAreSentences) {
  EXPECT_ERROR(parse_poses_bounds({{1, 16}, std::vector<double>(16)}, "poses"), "not [cameras,17]");
  EXPECT_ERROR(parse_poses_bounds({{0, 17}, {}}, "poses"), "not [cameras,17]");
  EXPECT_ERROR(parse_poses_bounds({{1, 17}, pose_row(0, 0)}, "poses"), "nearest depth");
  EXPECT_ERROR(parse_poses_bounds({{1, 17}, std::vector<double>(17)}, "poses"), "focal length");
  std::vector<double> opposite = pose_row(0, 1), row = opposite;
  row[12] = -1;  // looks back
  opposite.insert(opposite.end(), row.begin(), row.end());
  EXPECT_ERROR(parse_poses_bounds({{2, 17}, opposite}, "poses"), "no common direction");
}

TEST_F(DatasetLayouts, ReadsHyperNerf) {
  json list = {{"ids", json::array()}}, metadata;
  for (int i = 0; i < 9; ++i) {
    const std::string id = fmt::format("{:03}", i);
    list["ids"].push_back(id);
    metadata[id] = {{"warp_id", 2 * i}, {"camera_id", 0}};
    picture("rgb/2x/" + id + ".png");
    text("camera/" + id + ".json", json({{"orientation", {{1, 0, 0}, {0, 0, -1}, {0, 1, 0}}},
                                         {"position", {1, 2, 3}},
                                         {"focal_length", 12},
                                         {"image_size", {24, 16}}})
                                       .dump());
  }
  text("dataset.json", list.dump());
  text("metadata.json", metadata.dump());
  text("scene.json", json({{"scale", 0.5}, {"center", {1, 1, 1}}}).dump());
  text("points.npy", test::npy_of({2, 3}, {1, 1, 1, 3, 5, 7}));
  const Dataset dataset(folder_.path());
  const auto& train = dataset.read_split("train").frames;
  ASSERT_EQ(train.size(), 3u);  // 0, 4, 8
  EXPECT_DOUBLE_EQ(train[1].time, 0.5);
  EXPECT_DOUBLE_EQ(train[2].time, 1);
  const auto& test = dataset.read_split("test").frames;
  ASSERT_EQ(test.size(), 2u);  // 2, 6
  EXPECT_EQ(test[1].file.filename(), "006.png");
  const Camera camera = make_camera(train[0].camera_to_world, 12, 8, train[0].intrinsics);
  EXPECT_NEAR(camera.fov_x, 2 * std::atan(1.0), 1e-12);
  EXPECT_NEAR(camera.center[1], 0.5, 1e-6);
  EXPECT_NEAR(camera.center[2], 1, 1e-6);
  // The orientation's rows are the camera's axes: down is -z, forward y.
  EXPECT_NEAR(camera.world_to_view[2 * 4 + 1], -1, 1e-6);
  EXPECT_NEAR(camera.world_to_view[1 * 4 + 2], 1, 1e-6);
  const PointCloud points = dataset.start_points();
  ASSERT_EQ(points.count(), 2);
  EXPECT_EQ(points.positions, (std::vector<float>{0, 0, 0, 1, 2, 3}));
  EXPECT_FLOAT_EQ(points.colors[0], 0.5f);

  list["train_ids"] = json::array({"001"});
  list["val_ids"] = json::array({"002"});
  text("dataset.json", list.dump());
  EXPECT_EQ(Dataset(folder_.path()).read_split("test").frames.at(0).file.filename(), "002.png");
  list["val_ids"] = json::array({"../002"});
  text("dataset.json", list.dump());
  EXPECT_ERROR(Dataset(folder_.path()), "not a list of names");
  list["val_ids"] = json::array({"902"});
  text("dataset.json", list.dump());
  EXPECT_ERROR(Dataset(folder_.path()), "not of 'ids'");
}

TEST_F(DatasetLayouts, DamagedHyperNerfFilesAreSentences) {
  EXPECT_ERROR(parse_hypernerf_scene("{", "scene"), "not valid JSON");
  EXPECT_ERROR(parse_hypernerf_scene(R"({"scale":0,"center":[0,0,0]})", "scene"), "not above 0");
  EXPECT_ERROR(parse_hypernerf_scene(R"({"scale":1,"center":[0,0]})", "scene"), "list of 3 numbers");
  const json good = {{"orientation", {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}},
                     {"position", {1, 2, 3}},
                     {"focal_length", 12},
                     {"image_size", {24, 16}}};
  const auto with = [&](const char* key, const json& value) {
    json camera = good;
    camera[key] = value;
    return parse_hypernerf_camera(camera.dump(), {}, "camera");
  };
  EXPECT_NO_THROW(with("skew", 0));
  EXPECT_ERROR(with("orientation", {{1, 0, 0}, {0, 1, 0}}), "3×3");
  EXPECT_ERROR(with("orientation", {{1, 0, 0}, {1, 0, 0}, {0, 0, 1}}), "no inverse");
  EXPECT_ERROR(with("focal_length", 0), "not above 0");
  EXPECT_ERROR(with("position", "here"), "list of 3 numbers");
}

}  // namespace
}  // namespace eg4d
