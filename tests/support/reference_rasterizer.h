#pragma once

// The rasteriser as its definition reads, one pixel and one Gaussian at a time, in float or double: what the
// kernels are compared with and measured against.

#include <cstdint>
#include <vector>

#include "backend/splat_ops.h"

namespace eg4d::test {

// Host copies of what RasterizeForward takes.
template <class T>
struct RasterScene {
  RasterizeCamera camera;
  int width = 0, height = 0;
  int64_t count = 0;
  std::vector<T> means, scales, rotations, opacities, colors;
};

template <class T>
struct RasterGradients {
  std::vector<T> means, scales, rotations, opacities, colors, means_ndc;
};

template <class T>
class ReferenceRasterizer {
 public:
  void forward(const RasterScene<T>& scene);
  // After forward with the same scene.
  RasterGradients<T> backward(const RasterScene<T>& scene, const std::vector<T>& d_image);

  std::vector<T> image, depth, alpha;  // [H,W,3], [H,W], [H,W]
  std::vector<int32_t> radii;          // [N]
  int64_t pair_count() const { return static_cast<int64_t>(pairs_.size()); }
  int64_t blended_count() const { return blended_; }  // (Gaussian, pixel) pairs that were blended

  struct Splat {
    T x = 0, y = 0, z = 0;  // pixel, view depth
    T conic[3] = {};        // xx, xy, yy
    T opacity = 0;
    int radius = 0;  // 0 = not visible
    int tile_x0 = 0, tile_x1 = 0, tile_y0 = 0, tile_y1 = 0;
  };

 private:
  void sort_into_tiles(int width, int height);
  void blend_pixel(const RasterScene<T>& scene, int tile, int x, int y);
  void blend_pixel_backward(const RasterScene<T>& scene, const T* d_pixel, int tile, int x, int y);

  std::vector<Splat> splats_;
  int64_t blended_ = 0;
  std::vector<int32_t> order_;
  std::vector<int64_t> tile_begin_;  // [tiles + 2] into pairs_
  std::vector<int32_t> pairs_;       // Gaussians of each tile, front to back
  std::vector<int32_t> stop_;        // [H,W] entries of the tile's list that the pixel looked at
  std::vector<T> d_screen_;          // [N,9] pixel x, y, conic xx, xy, yy, opacity, color
};

extern template class ReferenceRasterizer<float>;
extern template class ReferenceRasterizer<double>;

}  // namespace eg4d::test
