#include "scene/dynerf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "io/image.h"
#include "scene/frame_source.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kColumns = 17;
constexpr int64_t kMostCameras = 10000;
constexpr size_t kMostFrames = 300;
constexpr int kWidth = 1352;         // of the published pictures
constexpr float kHalfWidth = 4.5f;   // of the published first points' cube
constexpr double kNearestIn = 0.75;  // of the nearest depth is the unit

using Vector = std::array<double, 3>;

Vector cross(const Vector& a, const Vector& b) {
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}

Vector column(const Matrix4& matrix, int j) {
  return {matrix(0, j), matrix(1, j), matrix(2, j)};
}

void set_column(Matrix4& matrix, int j, const Vector& values, double factor = 1) {
  for (int i = 0; i < 3; ++i) matrix(i, j) = factor * values[static_cast<size_t>(i)];
}

bool normalize(Vector& v) {
  const double length = std::hypot(v[0], v[1], v[2]);
  if (!(length > 1e-9)) return false;
  for (double& value : v) value /= length;
  return true;
}

Vector mean_column(const std::vector<Matrix4>& poses, int j) {
  Vector mean{};
  for (const Matrix4& pose : poses)
    for (int i = 0; i < 3; ++i)
      mean[static_cast<size_t>(i)] += pose(i, j) / static_cast<double>(poses.size());
  return mean;
}

std::vector<fs::path> camera_folders(const fs::path& folder) {
  std::vector<fs::path> folders;
  bool videos = false;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("cam")) continue;
    if (fs::is_directory(entry.path() / "images")) folders.push_back(entry.path());
    videos = videos || entry.path().extension() == ".mp4";
  }
  if (folders.empty())
    throw Error(
        fmt::format("'{}' has poses_bounds.npy but no cam*/images{}", folder.string(),
                    videos ? "; take the videos apart: ffmpeg -i cam00.mp4 cam00/images/%04d.png" : ""));
  std::sort(folders.begin(), folders.end());
  return folders;
}

std::vector<fs::path> pictures_in(const fs::path& folder) {
  std::vector<fs::path> pictures = picture_files(folder);
  if (pictures.empty()) throw Error(fmt::format("there are no pictures in '{}'", folder.string()));
  pictures.resize(std::min(pictures.size(), kMostFrames));
  return pictures;
}

}  // namespace

std::vector<DyNerfCamera> parse_poses_bounds(const NpyArray& array, const std::string& name) {
  const auto bad = [&](const std::string& what) {
    return Error(fmt::format("'{}' holds no cameras of a DyNeRF data set: {}", name, what));
  };
  if (array.shape.size() != 2 || array.shape[1] != kColumns || array.shape[0] < 1 ||
      array.shape[0] > kMostCameras)
    throw bad(fmt::format("it is {}, not [cameras,17]", to_string(array.shape)));
  std::vector<Matrix4> poses;
  double nearest = array.values[15];
  std::vector<DyNerfCamera> cameras;
  for (size_t camera = 0; camera < static_cast<size_t>(array.shape[0]); ++camera) {
    const double* row = array.values.data() + camera * kColumns;
    const auto stored = [&](int j) { return Vector{row[j], row[5 + j], row[10 + j]}; };
    Matrix4 pose = Matrix4::identity();
    set_column(pose, 0, stored(1));
    set_column(pose, 1, stored(0), -1);
    set_column(pose, 2, stored(2));
    set_column(pose, 3, stored(3));
    poses.push_back(pose);
    const auto [height, width, focal] = stored(4);
    if (!(height >= 1 && width >= 1 && focal > 0)) throw bad("a picture size or focal length is not above 0");
    DyNerfCamera made;
    made.intrinsics.fov_x = 2 * std::atan(width / (2 * focal));
    made.intrinsics.fov_y = 2 * std::atan(height / (2 * focal));
    cameras.push_back(made);
    nearest = std::min(nearest, row[15]);
  }
  if (!(nearest > 0)) throw bad("a nearest depth is not above 0");

  Vector back = mean_column(poses, 2);
  Vector right = cross(mean_column(poses, 1), back);
  if (!normalize(back) || !normalize(right)) throw bad("the cameras look in no common direction");
  Matrix4 mean = Matrix4::identity();
  set_column(mean, 0, right);
  set_column(mean, 1, cross(back, right));
  set_column(mean, 2, back);
  set_column(mean, 3, mean_column(poses, 3));
  const Matrix4 from_mean = inverse(mean);
  for (size_t i = 0; i < poses.size(); ++i) {
    Matrix4 pose = from_mean * poses[i];
    set_column(pose, 3, column(pose, 3), 1 / (kNearestIn * nearest));
    cameras[i].camera_to_world = pose;
  }
  return cameras;
}

DatasetLayout read_dynerf(const fs::path& folder) {
  const fs::path poses = folder / "poses_bounds.npy";
  const std::vector<DyNerfCamera> cameras = parse_poses_bounds(read_npy(poses), poses.string());
  const std::vector<fs::path> folders = camera_folders(folder);
  if (folders.size() != cameras.size())
    throw Error(fmt::format("'{}' has {} cameras, and there are {} folders cam*/images beside it",
                            poses.string(), cameras.size(), folders.size()));
  DatasetLayout layout;
  layout.sources = {poses};
  layout.half_width = kHalfWidth;
  for (size_t camera = 0; camera < cameras.size(); ++camera) {
    const std::vector<fs::path> pictures = pictures_in(folders[camera] / "images");
    const PictureSize size = picture_size(pictures.front());
    const double scale = std::min(1.0, static_cast<double>(kWidth) / size.width);
    for (size_t i = 0; i < pictures.size(); ++i) {
      DatasetFrame frame;
      frame.file = pictures[i];
      frame.camera_to_world = cameras[camera].camera_to_world;
      frame.intrinsics = cameras[camera].intrinsics;
      frame.time = static_cast<double>(i) / static_cast<double>(kMostFrames);
      frame.time_index = static_cast<int>(i);
      frame.view_index = static_cast<int>(camera);
      frame.width = static_cast<int>(std::lround(size.width * scale));
      frame.height = std::max(static_cast<int>(std::lround(size.height * scale)), 1);
      layout.splits[camera == 0 && cameras.size() > 1 ? "test" : "train"].frames.push_back(std::move(frame));
    }
  }
  return layout;
}

}  // namespace eg4d
