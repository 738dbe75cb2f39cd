#include "scene/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "io/image.h"
#include "io/json_file.h"
#include "io/mapped_file.h"
#include "scene/colmap.h"
#include "scene/dynerf.h"
#include "scene/hypernerf.h"

namespace eg4d {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr size_t kMaxFrames = 1000000;

double number(const json& object, const char* key, double fallback, const std::string& where) {
  if (!object.contains(key) || object[key].is_null()) return fallback;
  if (!object[key].is_number()) throw Error(fmt::format("{}: '{}' is not a number", where, key));
  const double value = object[key].get<double>();
  if (!std::isfinite(value)) throw Error(fmt::format("{}: '{}' is not finite", where, key));
  return value;
}

int index(const json& object, const char* key, const std::string& where) {
  const double value = number(object, key, -1, where);
  if (value < -1 || value > 1e9) throw Error(fmt::format("{}: '{}' is out of range", where, key));
  return static_cast<int>(value);
}

double not_negative(const json& object, const char* key, const std::string& where) {
  const double value = number(object, key, 0, where);
  if (value < 0) throw Error(fmt::format("{}: '{}' is negative", where, key));
  return value;
}

bool is_usable_angle(double fov) {
  return fov > 0.001 && fov < 3.1;
}

// fov from camera_angle_x, or from focal lengths in pixels with the stated picture size.
Intrinsics read_intrinsics(const json& object, const Intrinsics& fallback, const std::string& where) {
  Intrinsics result = fallback;
  const double width = not_negative(object, "w", where), height = not_negative(object, "h", where);
  if (object.contains("camera_angle_x")) {
    result.fov_x = number(object, "camera_angle_x", 0, where);
    result.fov_y.reset();
  }
  const double angle_y = number(object, "camera_angle_y", 0, where);
  if (angle_y != 0) result.fov_y = angle_y;
  const double focal_x = not_negative(object, "fl_x", where), focal_y = not_negative(object, "fl_y", where);
  if (focal_x > 0 && width > 0) result.fov_x = 2 * std::atan(width / (2 * focal_x));
  if (focal_y > 0 && height > 0) result.fov_y = 2 * std::atan(height / (2 * focal_y));
  if (object.contains("cx")) result.center_x = number(object, "cx", 0, where);
  if (object.contains("cy")) result.center_y = number(object, "cy", 0, where);
  return result;
}

Matrix4 read_matrix(const json& frame, const std::string& where) {
  const auto bad = [&] {
    return Error(fmt::format("{}: 'transform_matrix' is not a 4×4 matrix of numbers", where));
  };
  if (!frame.contains("transform_matrix")) throw Error(fmt::format("{} has no 'transform_matrix'", where));
  const json& rows = frame["transform_matrix"];
  if (!rows.is_array() || rows.size() != 4) throw bad();
  Matrix4 matrix;
  for (int i = 0; i < 4; ++i) {
    const json& row = rows[static_cast<size_t>(i)];
    if (!row.is_array() || row.size() != 4) throw bad();
    for (int j = 0; j < 4; ++j) {
      const json& value = row[static_cast<size_t>(j)];
      if (!value.is_number()) throw bad();
      matrix(i, j) = value.get<double>();
    }
  }
  try {
    inverse(matrix);
  } catch (const Error&) {
    throw Error(fmt::format("{}: 'transform_matrix' has no inverse, so it is not a camera pose", where));
  }
  return matrix;
}

fs::path find_picture(const fs::path& path) {
  if (path.has_extension() && fs::is_regular_file(path)) return path;
  for (const char* extension : {".png", ".webp", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG"}) {
    fs::path candidate = path;
    candidate += extension;
    if (fs::is_regular_file(candidate)) return candidate;
  }
  throw Error(fmt::format("the picture '{}' (.png, .webp, .jpg) does not exist; the dataset is incomplete",
                          path.string()));
}

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

DatasetSplit parse_transforms(std::string_view text, const fs::path& folder, const std::string& name) {
  const std::string where = fmt::format("transforms_{}.json in '{}'", name, folder.string());
  const json root = parse_json(text, where);
  if (!root.is_object() || !root.contains("frames") || !root["frames"].is_array())
    throw Error(where + " has no 'frames' list");
  const json& frames = root["frames"];
  if (frames.empty()) throw Error(where + " lists no frames");
  if (frames.size() > kMaxFrames)
    throw Error(fmt::format("{} lists {} frames; at most {} can be used", where, frames.size(), kMaxFrames));
  const Intrinsics common = read_intrinsics(root, {}, where);
  DatasetSplit split;
  split.name = name;
  for (size_t i = 0; i < frames.size(); ++i) {
    const std::string here = fmt::format("{}, frame {}", where, i);
    const json& entry = frames[i];
    if (!entry.is_object() || !entry.contains("file_path") || !entry["file_path"].is_string())
      throw Error(here + " has no 'file_path'");
    DatasetFrame frame;
    frame.file = folder / entry["file_path"].get<std::string>();
    frame.camera_to_world = read_matrix(entry, here);
    frame.time = number(entry, "time", 0, here);
    if (frame.time < 0) throw Error(here + ": 'time' is negative");
    frame.time_index = index(entry, "time_index", here);
    frame.view_index = index(entry, "view_index", here);
    frame.intrinsics = read_intrinsics(entry, common, here);
    if (!is_usable_angle(frame.intrinsics.fov_x))
      throw Error(here + ": no usable field of view (camera_angle_x, or fl_x with w)");
    if (frame.intrinsics.fov_y && !is_usable_angle(*frame.intrinsics.fov_y))
      throw Error(here + ": no usable vertical field of view (camera_angle_y, or fl_y with h)");
    split.frames.push_back(std::move(frame));
  }
  return split;
}

namespace {

// Told by a file or folder, in the published order.
struct Layout {
  const char* sign;
  DatasetLayout (*read)(const fs::path&);
  PointCloud (*points)(const fs::path&);  // null: none
};
PointCloud colmap_points(const fs::path& folder) {
  return read_colmap_points(folder / "sparse" / "0");
}
constexpr Layout kLayouts[] = {{"sparse/0", read_colmap, colmap_points},
                               {"poses_bounds.npy", read_dynerf, nullptr},
                               {"dataset.json", read_hypernerf, read_hypernerf_points}};

}  // namespace

bool is_dataset_folder(const fs::path& folder) {
  if (fs::exists(folder / "transforms_train.json")) return true;
  return std::any_of(std::begin(kLayouts), std::end(kLayouts),
                     [&](const Layout& layout) { return fs::exists(folder / layout.sign); });
}

PointCloud Dataset::start_points() const {
  if (const fs::path file = folder_ / "points3d.ply"; fs::exists(file)) {
    PointCloud points = read_point_ply(file);
    if (points.count() == 0)
      throw Error(fmt::format("'{}' holds no points; use start.points = \"random\" or \"silhouette\"",
                              file.string()));
    return points;
  }
  if (is_dnerf()) return read_colmap_points(folder_ / "colmap" / "0");
  for (const Layout& layout : kLayouts)
    if (fs::exists(folder_ / layout.sign)) return layout.points ? layout.points(folder_) : PointCloud{};
  return {};
}

Dataset::Dataset(fs::path folder) : folder_(std::move(folder)) {
  if (!fs::exists(folder_))
    throw Error(fmt::format("the dataset folder '{}' does not exist", folder_.string()));
  if (!fs::is_directory(folder_))
    throw Error(fmt::format("'{}' is not a folder; give the dataset's folder", folder_.string()));
  if (!split_names().empty()) return;
  for (const Layout& layout : kLayouts)
    if (is_dnerf() && fs::exists(folder_ / layout.sign)) layout_ = layout.read(folder_);
  if (is_dnerf())
    throw Error(
        fmt::format("'{}' holds no transforms_train.json; a dataset in the D-NeRF layout is needed, or "
                    "one of COLMAP (sparse/0), DyNeRF (poses_bounds.npy) or HyperNeRF (dataset.json)",
                    folder_.string()));
}

std::vector<std::string> Dataset::split_names() const {
  std::vector<std::string> names;
  for (const auto& [name, split] : layout_.splits) names.push_back(name);
  if (!names.empty()) return names;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string file = entry.path().filename().string();
    if (file.starts_with("transforms_") && file.ends_with(".json"))
      names.push_back(file.substr(11, file.size() - 16));
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool Dataset::has_split(const std::string& name) const {
  if (!is_dnerf()) return layout_.splits.contains(name);
  return fs::is_regular_file(folder_ / fmt::format("transforms_{}.json", name));
}

bool Dataset::same_split(const std::string& a, const std::string& b) const {
  if (!is_dnerf()) return a == b;
  const auto contents = [&](const std::string& name) {
    std::ifstream file(folder_ / fmt::format("transforms_{}.json", name), std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  };
  return has_split(a) && has_split(b) && contents(a) == contents(b);
}

const DatasetSplit& Dataset::read_split(const std::string& name) const {
  if (const auto found = read_.find(name); found != read_.end()) return found->second;
  return read_.emplace(name, read_from_disk(name)).first->second;
}

DatasetSplit Dataset::read_from_disk(const std::string& name) const {
  const fs::path path = folder_ / fmt::format("transforms_{}.json", name);
  if (!has_split(name))
    throw Error(
        fmt::format("the dataset has no split '{}'; it has: {}", name, fmt::join(split_names(), ", ")));
  DatasetSplit split;
  if (is_dnerf()) {
    const MappedFile file(path);
    if (file.bytes().size() > kMaxJsonBytes)
      throw Error(fmt::format("'{}' is larger than {} MiB", path.string(), kMaxJsonBytes >> 20));
    split = parse_transforms(text_of(file), folder_, name);
  } else {
    split = layout_.splits.at(name);
    split.name = name;
  }
  for (DatasetFrame& frame : split.frames) {
    frame.file = find_picture(frame.file);
    const PictureSize size = picture_size(frame.file);
    if (!is_usable_angle(frame.intrinsics.fov_x) || !is_usable_angle(frame.intrinsics.fov_y.value_or(1)))
      throw Error(fmt::format("the camera of '{}' has no usable field of view", frame.file.string()));
    if (frame.width == 0) {
      frame.width = size.width;
      frame.height = size.height;
    }
    const DatasetFrame& first = split.frames.front();
    if (frame.width != first.width || frame.height != first.height)
      throw Error(fmt::format(
          "the dataset's pictures differ in size: '{}' is {}×{}, '{}' is {}×{}; give them one size",
          first.file.string(), first.width, first.height, frame.file.string(), frame.width, frame.height));
  }
  return split;
}

uint64_t Dataset::fingerprint() const {
  uint64_t hash = 0xcbf29ce484222325;
  const auto mix = [&](std::string_view bytes) {
    for (const char byte : bytes) hash = (hash ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  };
  const auto mix_file = [&](const fs::path& path) { mix(text_of(MappedFile(path))); };
  for (const fs::path& source : layout_.sources) mix_file(source);
  for (const std::string& name : split_names()) {
    mix(name);
    if (is_dnerf()) mix_file(folder_ / fmt::format("transforms_{}.json", name));
  }
  for (const DatasetFrame& frame : read_split("train").frames) {
    mix(frame.file.lexically_relative(folder_).generic_string());
    mix_file(frame.file);
  }
  return hash;
}

double Dataset::largest_time() const {
  if (!is_dnerf()) return 1;
  double largest = 0;
  std::vector<std::string> names;
  for (const char* name : {"train", "test"})
    if (has_split(name)) names.emplace_back(name);
  if (names.empty()) names = split_names();
  for (const std::string& name : names)
    for (const DatasetFrame& frame : read_split(name).frames) largest = std::max(largest, frame.time);
  return largest > 0 ? largest : 1;
}

}  // namespace eg4d
