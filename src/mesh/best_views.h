#pragma once

#include <array>
#include <span>

#include "mesh/surface_points.h"
#include "mesh/texture_bake.h"

namespace eg4d::mesh {

// Of each point of a surface the pictures that show it best: colours and how well they show it.
class BestViews {
 public:
  BestViews(size_t points, int views);

  // What one camera sees: `points` at one moment (`positions` and `normals` of points), `depth` of the mesh
  // as depth_buffer makes it, and how large the object is (its radius, for how far depths may be off).
  void look(const Camera& camera, const SeenObject& seen, const std::vector<float>& depth,
            std::span<const Vec3f> positions, std::span<const Vec3f> normals, float radius);

  bool seen(size_t point) const { return counts_[point] > 0; }
  // The mean of what was seen, in which colours far from the median count little; in [0,1].
  Vec3f color(size_t point) const;
  size_t size() const { return counts_.size(); }

 private:
  struct View {
    uint16_t weight = 0;
    std::array<uint16_t, 3> color{};
  };
  void add(size_t point, float weight, Vec3f color);

  const size_t views_;
  std::vector<View> best_;  // [points][views], a heap whose first weighs least
  std::vector<uint8_t> counts_;
};

}  // namespace eg4d::mesh
