#include "mesh/depth_field.h"

#include <algorithm>

namespace eg4d::mesh {
namespace {

constexpr float kLeastSeen = 0.06f;  // of the cameras, or a point counts as inside

}  // namespace

DepthField::DepthField(const Lattice& lattice, std::vector<DepthView> views, float truncation)
    : lattice_(lattice), views_(std::move(views)), truncation_(truncation) {}

void DepthField::operator()(const BlockNumber& block, float* values) const {
  float weights[kBlockValues] = {};
  std::fill(values, values + kBlockValues, 0.f);
  for (const DepthView& view : views_) {
    const float* m = view.camera.world_to_view;
    const float focal_x = static_cast<float>(view.camera.width) * 0.5f * view.camera.projection[0],
                focal_y = static_cast<float>(view.camera.height) * 0.5f * view.camera.projection[5];
    const float middle_x = static_cast<float>(view.camera.width) * 0.5f,
                middle_y = static_cast<float>(view.camera.height) * 0.5f;
    size_t at = 0;
    for (int z = 0; z < kBlockPoints; ++z)
      for (int y = 0; y < kBlockPoints; ++y)
        for (int x = 0; x < kBlockPoints; ++x, ++at) {
          const Vec3f p = lattice_.at(block[0] * kBlock + x, block[1] * kBlock + y, block[2] * kBlock + z);
          const float view_z = p.x * m[2] + p.y * m[6] + p.z * m[10] + m[14];
          if (view_z <= 0) continue;
          const float view_x = p.x * m[0] + p.y * m[4] + p.z * m[8] + m[12],
                      view_y = p.x * m[1] + p.y * m[5] + p.z * m[9] + m[13];
          const float u = middle_x + focal_x * view_x / view_z, v = middle_y + focal_y * view_y / view_z;
          if (!(u >= 0 && v >= 0 && u < static_cast<float>(view.camera.width) &&
                v < static_cast<float>(view.camera.height)))
            continue;
          const float depth = view.depth[static_cast<size_t>(v) * static_cast<size_t>(view.camera.width) +
                                         static_cast<size_t>(u)];
          const float behind = depth < 0 ? -truncation_ : view_z - depth;
          if (!(behind <= truncation_)) continue;  // hidden, or not known
          values[at] += std::max(behind, -truncation_);
          weights[at] += 1;
        }
  }
  const float seen = kLeastSeen * static_cast<float>(views_.size());
  for (size_t i = 0; i < kBlockValues; ++i)
    values[i] = weights[i] > seen ? values[i] / (weights[i] * truncation_) : 1.f;
}

}  // namespace eg4d::mesh
