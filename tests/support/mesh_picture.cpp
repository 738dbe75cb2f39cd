#include "support/mesh_picture.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace eg4d::test {

using mesh::Vec3f;

Picture mesh_picture(const mesh::TriangleMesh& surface, const Camera& camera) {
  Picture picture(camera.width, camera.height, 3);
  std::fill(picture.data.begin(), picture.data.end(), uint8_t{255});
  std::vector<float> nearest(static_cast<size_t>(camera.width) * static_cast<size_t>(camera.height),
                             std::numeric_limits<float>::infinity());
  const float* m = camera.world_to_view;
  const auto width = static_cast<float>(camera.width), height = static_cast<float>(camera.height);
  for (const auto& [a, b, c] : surface.triangles) {
    Vec3f corners[3], pixels[3];
    const uint32_t numbers[3] = {a, b, c};
    bool behind = false;
    for (int k = 0; k < 3; ++k) {
      const Vec3f p = surface.positions[numbers[k]];
      corners[k] = {p.x * m[0] + p.y * m[4] + p.z * m[8] + m[12],
                    p.x * m[1] + p.y * m[5] + p.z * m[9] + m[13],
                    p.x * m[2] + p.y * m[6] + p.z * m[10] + m[14]};
      behind |= corners[k].z <= 0.01f;
      pixels[k] = {width / 2 * (1 + camera.projection[0] * corners[k].x / corners[k].z) - 0.5f,
                   height / 2 * (1 + camera.projection[5] * corners[k].y / corners[k].z) - 0.5f,
                   corners[k].z};
    }
    if (behind) continue;
    const Vec3f normal = normalized(cross(corners[1] - corners[0], corners[2] - corners[0]));
    const float facing = -dot(normal, normalized(corners[0]));  // towards the camera
    const auto shade = static_cast<uint8_t>(60 + 180 * std::abs(facing));
    const Vec3f ab = pixels[1] - pixels[0], ac = pixels[2] - pixels[0];
    const float area = ab.x * ac.y - ab.y * ac.x;
    if (area == 0) continue;
    const auto low = [](float v) { return std::max(static_cast<int>(std::ceil(v)), 0); };
    const int x0 = low(std::min({pixels[0].x, pixels[1].x, pixels[2].x})),
              y0 = low(std::min({pixels[0].y, pixels[1].y, pixels[2].y})),
              x1 = std::min(static_cast<int>(std::max({pixels[0].x, pixels[1].x, pixels[2].x})),
                            camera.width - 1),
              y1 = std::min(static_cast<int>(std::max({pixels[0].y, pixels[1].y, pixels[2].y})),
                            camera.height - 1);
    for (int y = y0; y <= y1; ++y)
      for (int x = x0; x <= x1; ++x) {
        const float dx = static_cast<float>(x) - pixels[0].x, dy = static_cast<float>(y) - pixels[0].y;
        const float u = (dx * ac.y - dy * ac.x) / area, v = (dy * ab.x - dx * ab.y) / area;
        if (u < 0 || v < 0 || u + v > 1) continue;
        const float z = pixels[0].z + u * ab.z + v * ac.z;
        const size_t at = static_cast<size_t>(y) * static_cast<size_t>(camera.width) + static_cast<size_t>(x);
        if (z >= nearest[at]) continue;
        nearest[at] = z;
        picture.data[3 * at] = shade;
        picture.data[3 * at + 1] = picture.data[3 * at + 2] = facing > 0 ? shade : uint8_t{40};
      }
  }
  return picture;
}

}  // namespace eg4d::test
