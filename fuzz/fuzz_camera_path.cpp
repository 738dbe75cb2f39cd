#include <cmath>
#include <string_view>

#include "fuzz.h"
#include "scene/camera.h"
#include "scene/camera_path.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  eg4d::fuzz::survive([&] {
    const auto path = eg4d::parse_camera_path({reinterpret_cast<const char*>(data), size}, "path.json");
    eg4d::fuzz::require(!path.keys.empty());
    for (int i = 0; i <= 16; ++i) {
      const auto key = path.at(path.seconds() * i / 16, 4, 40);
      for (const double value : key.camera.camera_to_world().m) eg4d::fuzz::require(std::isfinite(value));
      if (key.time) eg4d::fuzz::require(*key.time >= 0 && *key.time <= 1);
    }
  });
  return 0;
}
