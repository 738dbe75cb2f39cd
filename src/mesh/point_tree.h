#pragma once

#include <nanoflann.hpp>
#include <vector>

#include "mesh/vector.h"

namespace eg4d::mesh {

// Nearest points. Slow to compile: for .cpp files. The points must outlive it.
class PointTree {
 public:
  explicit PointTree(const std::vector<Vec3f>& points)
      : points_{points}, tree_(3, points_, nanoflann::KDTreeSingleIndexAdaptorParams(16)) {}
  PointTree(const PointTree&) = delete;
  PointTree& operator=(const PointTree&) = delete;

  // The `count` nearest ones, nearest first, and their squared distances; returns how many there are.
  size_t nearest(Vec3f to, size_t count, uint32_t* numbers, float* squared) const {
    return tree_.knnSearch(to.data(), count, numbers, squared);
  }
  // All within the distance, in no order.
  void within(Vec3f of, float distance, std::vector<std::pair<uint32_t, float>>& found) const {
    tree_.radiusSearch(of.data(), distance * distance, found, nanoflann::SearchParams(32, 0, false));
  }

 private:
  struct Points {
    const std::vector<Vec3f>& points;
    size_t kdtree_get_point_count() const { return points.size(); }
    float kdtree_get_pt(size_t i, size_t axis) const { return points[i].data()[axis]; }
    template <class Bounds>
    bool kdtree_get_bbox(Bounds&) const {
      return false;
    }
  };
  using Tree =
      nanoflann::KDTreeSingleIndexAdaptor<nanoflann::L2_Simple_Adaptor<float, Points>, Points, 3, uint32_t>;

  const Points points_;
  const Tree tree_;
};

}  // namespace eg4d::mesh
