#include "support/mesh_picture.h"

#include <algorithm>
#include <cmath>

#include "mesh/depth_buffer.h"

namespace eg4d::test {

using mesh::Vec3f;

Picture mesh_picture(const mesh::TriangleMesh& surface, const Camera& camera) {
  std::vector<mesh::SurfacePoint> points;
  const std::vector<float> depth = mesh::depth_buffer(surface.positions, surface.triangles, camera, &points);
  Picture picture(camera.width, camera.height, 3);
  std::fill(picture.data.begin(), picture.data.end(), uint8_t{255});
  const Vec3f eye = {camera.center[0], camera.center[1], camera.center[2]};
  for (size_t at = 0; at < depth.size(); ++at) {
    if (!std::isfinite(depth[at])) continue;
    const auto& [a, b, c] = surface.triangles[points[at].triangle];
    const Vec3f first = surface.positions[a];
    const Vec3f normal = normalized(cross(surface.positions[b] - first, surface.positions[c] - first));
    const float facing = dot(normal, normalized(eye - first));
    const auto shade = static_cast<uint8_t>(60 + 180 * std::abs(facing));
    picture.data[3 * at] = shade;
    picture.data[3 * at + 1] = picture.data[3 * at + 2] = facing > 0 ? shade : uint8_t{40};
  }
  return picture;
}

}  // namespace eg4d::test
