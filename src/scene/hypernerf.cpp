#include "scene/hypernerf.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "io/json_file.h"
#include "io/npy.h"

namespace eg4d {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr size_t kMostFrames = 1000000;

double number(const json& value, const std::string& name, const char* what) {
  if (!value.is_number() || !std::isfinite(value.get<double>()))
    throw Error(fmt::format("'{}': '{}' is not made of numbers", name, what));
  return value.get<double>();
}

const json& member(const json& object, const char* key, const std::string& name) {
  if (!object.is_object() || !object.contains(key)) throw Error(fmt::format("'{}' has no '{}'", name, key));
  return object[key];
}

// A list of so many numbers.
void numbers(const json& object, const char* key, const std::string& name, double* into, size_t count) {
  const json& list = member(object, key, name);
  if (!list.is_array() || list.size() != count)
    throw Error(fmt::format("'{}': '{}' is not a list of {} numbers", name, key, count));
  for (size_t i = 0; i < count; ++i) into[i] = number(list[i], name, key);
}

// Names of pictures: they become parts of paths.
std::vector<std::string> names(const json& object, const char* key, const std::string& name) {
  const json& list = member(object, key, name);
  if (!list.is_array() || list.size() > kMostFrames)
    throw Error(fmt::format("'{}': '{}' is not a list of names", name, key));
  std::vector<std::string> all;
  for (const json& one : list) {
    const std::string text = one.is_string() ? one.get<std::string>() : "";
    if (text.empty() || text == ".." || text.find('/') != std::string::npos)
      throw Error(fmt::format("'{}': '{}' is not a list of names", name, key));
    all.push_back(text);
  }
  return all;
}

HyperNerfScene scene_of(const json& root, const std::string& name) {
  HyperNerfScene scene;
  scene.scale = number(member(root, "scale", name), name, "scale");
  numbers(root, "center", name, scene.center, 3);
  if (!(scene.scale > 0)) throw Error(fmt::format("'{}': 'scale' is not above 0", name));
  return scene;
}

HyperNerfScene read_scene(const fs::path& folder) {
  const fs::path path = folder / "scene.json";
  return scene_of(read_json(path), path.string());
}

// Where a picture was taken from; no file of it yet.
DatasetFrame camera_of(const json& root, const HyperNerfScene& scene, const std::string& name) {
  double position[3], size[2];
  numbers(root, "position", name, position, 3);
  numbers(root, "image_size", name, size, 2);
  const double focal = number(member(root, "focal_length", name), name, "focal_length");
  if (!(focal > 0 && size[0] >= 1 && size[1] >= 1))
    throw Error(fmt::format("'{}': its picture size or focal length is not above 0", name));
  const json& rows = member(root, "orientation", name);
  if (!rows.is_array() || rows.size() != 3)
    throw Error(fmt::format("'{}': 'orientation' is not a 3×3 matrix", name));
  DatasetFrame frame;
  frame.camera_to_world = Matrix4::identity();
  for (int i = 0; i < 3; ++i) {  // right, down and forward of the camera
    const json& row = rows[static_cast<size_t>(i)];
    if (!row.is_array() || row.size() != 3)
      throw Error(fmt::format("'{}': 'orientation' is not a 3×3 matrix", name));
    for (int j = 0; j < 3; ++j)
      frame.camera_to_world(j, i) =
          (i == 0 ? 1 : -1) * number(row[static_cast<size_t>(j)], name, "orientation");
    frame.camera_to_world(i, 3) = (position[i] - scene.center[i]) * scene.scale;
  }
  try {
    inverse(frame.camera_to_world);
  } catch (const Error&) {
    throw Error(fmt::format("'{}': 'orientation' has no inverse, so it is no camera's", name));
  }
  frame.intrinsics.fov_x = 2 * std::atan(size[0] / (2 * focal));
  frame.intrinsics.fov_y = 2 * std::atan(size[1] / (2 * focal));
  return frame;
}

std::string pictures_folder(const fs::path& folder) {
  for (const char* name : {"rgb/2x", "rgb/1x", "rgb/4x"})
    if (fs::is_directory(folder / name)) return name;
  throw Error(fmt::format("'{}' has no pictures in rgb/2x", folder.string()));
}

// Of every picture by its name.
std::map<std::string, double> read_times(const fs::path& folder, const std::vector<std::string>& ids) {
  const fs::path path = folder / "metadata.json";
  const json metadata = read_json(path);
  std::map<std::string, double> times;
  double largest = 0;
  for (const std::string& id : ids) {
    const json& entry = member(metadata, id.c_str(), path.string());
    const double warp = number(member(entry, "warp_id", path.string()), path.string(), "warp_id");
    if (warp < 0) throw Error(fmt::format("'{}': a 'warp_id' is negative", path.string()));
    times[id] = warp;
    largest = std::max(largest, warp);
  }
  for (auto& [id, time] : times) time = largest > 0 ? time / largest : 0;
  return times;
}

}  // namespace

HyperNerfScene parse_hypernerf_scene(std::string_view text, const std::string& name) {
  return scene_of(parse_json(text, fmt::format("'{}'", name)), name);
}

DatasetFrame parse_hypernerf_camera(std::string_view text, const HyperNerfScene& scene,
                                    const std::string& name) {
  return camera_of(parse_json(text, fmt::format("'{}'", name)), scene, name);
}

DatasetLayout read_hypernerf(const fs::path& folder) {
  const fs::path list = folder / "dataset.json";
  const json dataset = read_json(list);
  const std::vector<std::string> ids = names(dataset, "ids", list.string());
  if (ids.empty()) throw Error(fmt::format("'{}' lists no pictures", list.string()));
  std::map<std::string, std::vector<std::string>> splits;
  if (dataset.contains("val_ids") && !dataset["val_ids"].empty()) {
    splits["train"] = names(dataset, "train_ids", list.string());
    splits["test"] = names(dataset, "val_ids", list.string());
  } else {
    for (size_t i = 0; i < ids.size(); i += 4) {
      splits["train"].push_back(ids[i]);
      // Each training picture has its test picture two further, but for the last one.
      if (i + 4 < ids.size()) splits["test"].push_back(ids[i + 2]);
    }
  }
  const HyperNerfScene scene = read_scene(folder);
  const std::map<std::string, double> times = read_times(folder, ids);
  const std::string pictures = pictures_folder(folder);
  DatasetLayout layout;
  layout.sources = {list, folder / "metadata.json", folder / "scene.json"};
  for (const auto& [split, members] : splits)
    for (const std::string& id : members) {
      const auto time = times.find(id);
      if (time == times.end())
        throw Error(fmt::format("'{}': '{}' is of a split but not of 'ids'", list.string(), id));
      const fs::path camera = folder / "camera" / (id + ".json");
      DatasetFrame frame = camera_of(read_json(camera), scene, camera.string());
      frame.file = folder / pictures / (id + ".png");
      frame.time = time->second;
      layout.sources.push_back(camera);
      layout.splits[split].frames.push_back(std::move(frame));
    }
  return layout;
}

PointCloud read_hypernerf_points(const fs::path& folder) {
  const fs::path path = folder / "points.npy";
  if (!fs::is_regular_file(path)) return {};
  const HyperNerfScene scene = read_scene(folder);
  const NpyArray array = read_npy(path);
  if (array.shape.size() != 2 || array.shape[1] != 3)
    throw Error(fmt::format("'{}' is {}, not [points,3]", path.string(), to_string(array.shape)));
  PointCloud points;
  for (size_t i = 0; i < array.values.size(); ++i)
    points.positions.push_back(static_cast<float>((array.values[i] - scene.center[i % 3]) * scene.scale));
  points.colors.assign(points.positions.size(), 0.5f);
  return points;
}

}  // namespace eg4d
