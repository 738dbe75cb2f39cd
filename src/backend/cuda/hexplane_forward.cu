#include "backend/cuda/check.h"
#include "backend/cuda/hexplane.cuh"
#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {
namespace {

template <int W>
__global__ void __launch_bounds__(kHexPlaneThreads)
    forward_kernel(HexPlane field, const __grid_constant__ HexPlaneGeometry g) {
  const HexPlaneBlock block(g, W);
  for (int unit = static_cast<int>(threadIdx.x); unit < block.points * block.per_point;
       unit += kHexPlaneThreads) {
    const int64_t point = int64_t{blockIdx.x} * block.points + unit / block.per_point;
    if (point >= field.count) return;
    const int feature = unit % block.per_point * W, level = feature / g.channels,
              channel = feature % g.channels;
    const PointSample s = sample_point(g, coordinates_of(field, point), level);
    Channels<W> product;
#pragma unroll
    for (int plane = 0; plane < 6; ++plane) {
      const Corners<W> c = load_corners<W>(g, field.grid, s, level, plane, channel);
      const float x = s.axis[first_axis(plane)].weight, y = s.axis[second_axis(plane)].weight;
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const float upper = fmaf(x, c.upper_right.v[k] - c.upper_left.v[k], c.upper_left.v[k]);
        const float lower = fmaf(x, c.lower_right.v[k] - c.lower_left.v[k], c.lower_left.v[k]);
        const float value = fmaf(y, lower - upper, upper);
        product.v[k] = plane == 0 ? value : product.v[k] * value;
      }
    }
    store_channels(field.features + point * g.levels * g.channels + feature, product);
  }
}

template <int W>
void launch(const HexPlane& field, const HexPlaneGeometry& g, cudaStream_t stream) {
  const HexPlaneBlock block(g, W);
  forward_kernel<W><<<blocks_for(field.count, block.points), kHexPlaneThreads, 0, stream>>>(field, g);
  check_launch("sampling the field");
}

}  // namespace

HexPlaneGeometry hexplane_geometry(const HexPlaneLayout& layout) {
  if (layout.levels() > kMostLevels)
    not_on_this_device("the GPU takes a field of at most 8 levels; use --device cpu");
  HexPlaneGeometry g{};
  g.channels = layout.channels;
  g.levels = layout.levels();
  for (size_t i = 0; i < layout.planes.size(); ++i) {
    const HexPlaneLayout::Plane& plane = layout.planes[i];
    g.planes[i] = {plane.offset, g.cells, plane.rows, plane.columns};
    g.cells += static_cast<uint32_t>(plane.rows) * static_cast<uint32_t>(plane.columns);
  }
  return g;
}

void hexplane_forward(const HexPlane& field, cudaStream_t stream) {
  const HexPlaneLayout& layout = field.context->description.planes;
  if (field.count == 0 || layout.feature_width() == 0) return;
  const HexPlaneGeometry g = hexplane_geometry(layout);
  if (g.channels % 4 == 0)
    launch<4>(field, g, stream);
  else
    launch<1>(field, g, stream);
}

}  // namespace eg4d::cuda
