#include "splat/gaussians.h"

#include <algorithm>
#include <cmath>
#include <nanoflann.hpp>

#include "core/threads.h"

namespace eg4d {
namespace {

struct PointAdaptor {
  const std::vector<float>& positions;
  size_t kdtree_get_point_count() const { return positions.size() / 3; }
  float kdtree_get_pt(size_t index, size_t axis) const { return positions[index * 3 + axis]; }
  template <class Box>
  bool kdtree_get_bbox(Box&) const {
    return false;
  }
};

}  // namespace

std::array<Shape, 6> Gaussians::shapes(int64_t count) {
  return {Shape{count, 3}, {count, 3}, {count, 15, 3}, {count, 3}, {count, 4}, {count}};
}

Gaussians Gaussians::empty(Backend& backend, int64_t count) {
  Gaussians gaussians;
  const auto tensors = gaussians.tensors();
  const auto all = shapes(count);
  for (size_t i = 0; i < tensors.size(); ++i) *tensors[i] = Tensor::empty(backend, all[i]);
  return gaussians;
}

Gaussians Gaussians::zeros(Backend& backend, int64_t count) {
  Gaussians gaussians = empty(backend, count);
  for (Tensor* tensor : gaussians.tensors()) tensor->fill_zero();
  return gaussians;
}

Gaussians Gaussians::clone() const {
  Gaussians copy = *this;
  for (Tensor* tensor : copy.tensors()) *tensor = tensor->clone();
  return copy;
}

std::vector<float> mean_squared_neighbor_distance(const std::vector<float>& positions) {
  const PointAdaptor adaptor{positions};
  const size_t count = positions.size() / 3;
  std::vector<float> result(count, 0.0f);
  if (count < 2) return result;
  using Tree = nanoflann::KDTreeSingleIndexAdaptor<nanoflann::L2_Simple_Adaptor<float, PointAdaptor>,
                                                   PointAdaptor, 3, uint32_t>;
  const Tree tree(3, adaptor, nanoflann::KDTreeSingleIndexAdaptorParams(16));
  parallel_for(static_cast<int64_t>(count), 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      uint32_t index[4];
      float squared[4];
      const size_t found = tree.knnSearch(&positions[static_cast<size_t>(i) * 3], 4, index, squared);
      float sum = 0;  // the nearest is the point itself
      for (size_t k = 1; k < found; ++k) sum += squared[k];
      result[static_cast<size_t>(i)] = sum / static_cast<float>(std::max<size_t>(found - 1, 1));
    }
  });
  return result;
}

Gaussians gaussians_from_points(Backend& backend, const PointCloud& points, float opacity,
                                float scale_factor) {
  const auto count = static_cast<size_t>(points.count());
  const std::vector<float> squared = mean_squared_neighbor_distance(points.positions);
  std::vector<float> dc(count * 3), scales(count * 3), quaternions(count * 4, 0.0f);
  for (size_t i = 0; i < count; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      dc[i * 3 + c] = (points.colors[i * 3 + c] - 0.5f) / kSh0;
      scales[i * 3 + c] = std::log(std::sqrt(std::max(squared[i], 1e-7f)) * scale_factor);
    }
    quaternions[i * 4] = 1;
  }
  const std::vector<float> logits(count, std::log(opacity / (1 - opacity)));
  const int64_t n = static_cast<int64_t>(count);
  Gaussians gaussians = Gaussians::zeros(backend, n);
  gaussians.positions = Tensor::from_host<float>(backend, {n, 3}, points.positions);
  gaussians.sh_dc = Tensor::from_host<float>(backend, {n, 3}, dc);
  gaussians.log_scales = Tensor::from_host<float>(backend, {n, 3}, scales);
  gaussians.quaternions = Tensor::from_host<float>(backend, {n, 4}, quaternions);
  gaussians.opacity_logits = Tensor::from_host<float>(backend, {n}, logits);
  return gaussians;
}

}  // namespace eg4d
