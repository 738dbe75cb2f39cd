#include <cmath>

#include "fuzz.h"
#include "scene/colmap.h"

// The first byte chooses which of the three files, and whether it is text.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const eg4d::Bytes file = eg4d::fuzz::bytes_of(data + 1, size - 1);
  const bool is_text = data[0] >= '3';
  eg4d::fuzz::survive([&] {
    switch (data[0] % 3) {
      case 0:
        for (const auto& [id, camera] : eg4d::parse_colmap_cameras(file, is_text, "cameras"))
          eg4d::fuzz::require(camera.focal_x > 0 && camera.width >= 1);
        break;
      case 1:
        for (const eg4d::ColmapImage& image : eg4d::parse_colmap_images(file, is_text, "images"))
          eg4d::fuzz::require(!image.name.empty() && std::isfinite(image.world_to_camera(0, 3)));
        break;
      default: {
        const eg4d::PointCloud points = eg4d::parse_colmap_points(file, is_text, "points3D");
        eg4d::fuzz::require(points.positions.size() == points.colors.size());
        for (const float value : points.positions) eg4d::fuzz::require(std::isfinite(value));
      }
    }
  });
  return 0;
}
