#include "scene/camera_path.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <set>

#include "core/error.h"
#include "io/json_file.h"
#include "io/mapped_file.h"
#include "scene/camera.h"

namespace eg4d {
namespace {

using nlohmann::json;

constexpr size_t kMostBytes = size_t{16} << 20;

double number(const json& value, const char* key, double least, double most, const std::string& where) {
  const double result = value.is_number() ? value.get<double>() : NAN;
  if (!(result >= least && result <= most))
    throw Error(fmt::format("{}: '{}' is not a number from {} to {}", where, key, least, most));
  return result;
}

void refuse_unknown(const json& object, const std::set<std::string>& known, const std::string& where) {
  for (const auto& [key, value] : object.items())
    if (!known.contains(key))
      throw Error(fmt::format("{}: '{}' is not known; known are {}", where, key, fmt::join(known, ", ")));
}

CameraPath::Key parse_key(const json& object, const std::string& where) {
  if (!object.is_object()) throw Error(where + " is not an object");
  refuse_unknown(object, {"azimuth", "elevation", "roll", "distance", "fov", "target", "seconds", "time"},
                 where);
  if (!object.contains("azimuth")) throw Error(where + " has no 'azimuth'");
  CameraPath::Key key;
  const auto take = [&](const char* name, double& value, double least, double most) {
    if (object.contains(name)) value = number(object[name], name, least, most, where);
  };
  take("azimuth", key.camera.azimuth, -36000, 36000);
  take("elevation", key.camera.elevation, -90, 90);
  take("roll", key.camera.roll, -36000, 36000);
  take("distance", key.camera.distance, 0.001, 10000);
  take("fov", key.camera.fov, 0.1, 170);
  take("seconds", key.seconds, 0, 86400);
  if (object.contains("time")) key.time = number(object["time"], "time", 0, 1, where);
  if (object.contains("target")) {
    const json& target = object["target"];
    if (!target.is_array() || target.size() != 3)
      throw Error(where + ": 'target' is not a list of three numbers");
    for (size_t i = 0; i < 3; ++i) key.camera.target[i] = number(target[i], "target", -10000, 10000, where);
  }
  return key;
}

// The angle that differs from `angle` by whole turns and is nearest to `from`.
double nearest_turn(double angle, double from) {
  return angle - 360 * std::round((angle - from) / 360);
}

// What is interpolated, in one row.
constexpr size_t kNumbers = 8;
using Row = std::array<double, kNumbers>;

Row row_of(const LookingCamera& camera, double distance, double fov) {
  return {camera.target[0],
          camera.target[1],
          camera.target[2],
          camera.azimuth,
          camera.elevation,
          camera.roll,
          std::log(camera.distance > 0 ? camera.distance : distance),
          camera.fov > 0 ? camera.fov : fov};
}

}  // namespace

Matrix4 LookingCamera::camera_to_world() const {
  Matrix4 pose = orbit_camera_to_world(azimuth, elevation, distance);
  const double turn = roll * std::numbers::pi / 180;
  for (int i = 0; i < 3; ++i) {
    const double right = pose(i, 0), up = pose(i, 1);
    pose(i, 0) = right * std::cos(turn) + up * std::sin(turn);
    pose(i, 1) = up * std::cos(turn) - right * std::sin(turn);
    pose(i, 3) += target[i];
  }
  return pose;
}

double CameraPath::seconds() const {
  const double last = keys.back().seconds;
  if (!loop || keys.size() < 2) return last;
  return last + last / static_cast<double>(keys.size() - 1);
}

CameraPath::Key CameraPath::at(double at, double distance, double fov) const {
  const auto count = static_cast<int64_t>(keys.size());
  // Key k, going on around where the path loops.
  const auto key = [&](int64_t k) -> const Key& {
    return keys[static_cast<size_t>((k % count + count) % count)];
  };
  const auto when = [&](int64_t k) {
    const double around = k < 0 ? -1 : k >= count ? 1 : 0;
    return key(k).seconds + around * seconds();
  };
  const int64_t last = loop && count > 1 ? count : count - 1;
  int64_t k = 0;
  while (k + 1 < last && when(k + 1) <= at) ++k;
  Key result;
  const double gap = last > 0 ? when(k + 1) - when(k) : 0;
  const double share = gap > 0 ? std::clamp((at - when(k)) / gap, 0.0, 1.0) : 0;

  // The neighbours' angles as seen from key k, so that a loop closes by the nearer way.
  const auto row = [&](int64_t j) {
    Row values = row_of(key(j).camera, distance, fov);
    if (j < 0 || j >= count) {
      const LookingCamera& edge = j < 0 ? keys.front().camera : keys.back().camera;
      double azimuth = edge.azimuth, roll = edge.roll;
      for (int64_t step = j < 0 ? -1 : count; step != (j < 0 ? j - 1 : j + 1); step += j < 0 ? -1 : 1) {
        azimuth = nearest_turn(key(step).camera.azimuth, azimuth);
        roll = nearest_turn(key(step).camera.roll, roll);
      }
      values[3] = azimuth;
      values[5] = roll;
    }
    return values;
  };
  const auto slope = [&](int64_t j) {
    const int64_t a = loop ? j - 1 : std::max<int64_t>(j - 1, 0),
                  b = loop ? j + 1 : std::min<int64_t>(j + 1, count - 1);
    const Row from = row(a), to = row(b);
    Row result;
    for (size_t i = 0; i < kNumbers; ++i) result[i] = (to[i] - from[i]) / (when(b) - when(a));
    return result;
  };

  Row now = row(k);
  if (gap > 0) {
    const Row from = now, to = row(k + 1), leaving = slope(k), arriving = slope(k + 1);
    const double s = share, s2 = s * s, s3 = s2 * s;
    for (size_t i = 0; i < kNumbers; ++i)
      now[i] = (2 * s3 - 3 * s2 + 1) * from[i] + (s3 - 2 * s2 + s) * gap * leaving[i] +
               (3 * s2 - 2 * s3) * to[i] + (s3 - s2) * gap * arriving[i];
  }
  result.seconds = at;
  std::copy_n(now.begin(), 3, result.camera.target);
  result.camera.azimuth = now[3];
  result.camera.elevation = std::clamp(now[4], -90.0, 90.0);
  result.camera.roll = now[5];
  result.camera.distance = std::exp(now[6]);
  result.camera.fov = std::clamp(now[7], 0.1, 170.0);
  if (has_times()) {
    const double from = *key(k).time, to = gap > 0 ? *key(k + 1).time : from;
    result.time = from + (to - from) * share;
  }
  return result;
}

CameraPath parse_camera_path(std::string_view text, const std::string& what) {
  const json root = parse_json(text, what);
  if (!root.is_object() || !root.contains("keys") || !root["keys"].is_array() || root["keys"].empty())
    throw Error(what + " is no camera path: it has no list 'keys' of cameras");
  refuse_unknown(root, {"keys", "loop"}, what);
  const json& keys = root["keys"];
  if (keys.size() > kMostKeyCameras)
    throw Error(fmt::format("{} has {} keys; at most {} can be used", what, keys.size(), kMostKeyCameras));
  CameraPath path;
  if (root.contains("loop")) {
    if (!root["loop"].is_boolean()) throw Error(what + ": 'loop' is not true or false");
    path.loop = root["loop"].get<bool>();
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    const std::string where = fmt::format("{}, key {}", what, i);
    CameraPath::Key key = parse_key(keys[i], where);
    const bool timed = keys[i].contains("seconds");
    if (timed != keys[0].contains("seconds"))
      throw Error(fmt::format("{}: either all keys have 'seconds', or none", where));
    if (!timed) key.seconds = static_cast<double>(i);
    if (i == 0 && key.seconds != 0) throw Error(where + ": the first key's 'seconds' is not 0");
    // A gap below a millisecond would be a jump, whose slope leaves every scale.
    if (i > 0 && key.seconds < path.keys.back().seconds + 0.001)
      throw Error(where + ": 'seconds' does not grow (by a thousandth at least)");
    if (i > 0 && key.time.has_value() != path.has_times())
      throw Error(fmt::format("{}: either all keys have a 'time', or none", where));
    path.keys.push_back(key);
  }
  return path;
}

CameraPath read_camera_path(const std::filesystem::path& file) {
  const MappedFile mapped(file);
  if (mapped.bytes().size() > kMostBytes)
    throw Error(fmt::format("'{}' is larger than {} MiB", file.string(), kMostBytes >> 20));
  return parse_camera_path({reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size()},
                           fmt::format("'{}'", file.string()));
}

}  // namespace eg4d
