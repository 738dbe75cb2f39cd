#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/matrix.h"

namespace eg4d {

// A camera that looks at a point, z up: the viewer's state. Azimuth 0 looks along -x.
struct LookingCamera {
  double target[3] = {0, 0, 0};
  double azimuth = 0, elevation = 0, roll = 0;  // degrees; roll about the line of sight
  double distance = 0;                          // from the target, scene units
  double fov = 0;                               // of the width, degrees; 0: as the training cameras

  Matrix4 camera_to_world() const;  // OpenGL axes
};

// A camera path through a few cameras, as people write it and the viewer saves it:
//   {"keys": [{"azimuth": 0, "elevation": 10, "distance": 4, "target": [0, 0, 0], "roll": 0, "fov": 40,
//              "seconds": 0, "time": 0}, …], "loop": false}
// Only azimuth is needed. Keys stand a second apart unless all say when ("seconds", increasing from 0). The
// moment of the object ("time", 0 to 1) is said by all or by none. A path that loops goes on to its first key
// again, a second (or, with "seconds", the mean gap) after the last, azimuths by the nearer way.
struct CameraPath {
  struct Key {
    LookingCamera camera;
    double seconds = 0;
    std::optional<double> time;
  };
  std::vector<Key> keys;  // at least one
  bool loop = false;

  bool has_times() const { return keys.front().time.has_value(); }
  double seconds() const;  // from the first key to the end
  // Cameras run smoothly through the keys (cubic, with the slope between each key's neighbours), times
  // linearly. `at`: seconds, 0 to seconds(). Distances of 0 are `distance`, fields of view of 0 `fov`.
  Key at(double at, double distance, double fov) const;
};

inline constexpr size_t kMostKeyCameras = 10000;

// Throws Error that begins with `what` and names the key.
CameraPath parse_camera_path(std::string_view json, const std::string& what);
CameraPath read_camera_path(const std::filesystem::path& file);

}  // namespace eg4d
