#include <cmath>
#include <string_view>

#include "fuzz.h"
#include "scene/hypernerf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  eg4d::fuzz::survive([&] { eg4d::parse_hypernerf_scene(text, "scene"); });
  eg4d::fuzz::survive([&] {
    const eg4d::DatasetFrame frame = eg4d::parse_hypernerf_camera(text, {}, "camera");
    eg4d::fuzz::require(frame.intrinsics.fov_x > 0 && std::isfinite(frame.camera_to_world(0, 3)));
  });
  return 0;
}
