#include <cmath>

#include "fuzz.h"
#include "scene/dynerf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  eg4d::fuzz::survive([&] {
    const eg4d::NpyArray array = eg4d::decode_npy(eg4d::fuzz::bytes_of(data, size), "array");
    eg4d::fuzz::require(static_cast<int64_t>(array.values.size()) == eg4d::element_count(array.shape));
    for (const eg4d::DyNerfCamera& camera : eg4d::parse_poses_bounds(array, "array"))
      eg4d::fuzz::require(camera.intrinsics.fov_x > 0);
  });
  return 0;
}
