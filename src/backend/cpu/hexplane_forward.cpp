#include "backend/cpu/hexplane_sampling.h"
#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {

void hexplane_forward(const HexPlane& field) {
  const HexPlaneLayout& layout = *field.layout;
  const int channels = layout.channels;
  parallel_for(field.count, 256, [&](int64_t begin, int64_t end) {
    for (int64_t point = begin; point < end; ++point) {
      const HexPlaneCoordinates coordinates = hexplane_coordinates(field, point);
      for (int level = 0; level < layout.levels(); ++level) {
        float* feature = field.features + (point * layout.levels() + level) * channels;
        for (int p = 0; p < 6; ++p) {
          const HexPlaneLayout::Plane& plane = layout.planes[static_cast<size_t>(level) * 6 + p];
          const AxisSample x = sample_axis(coordinates.value[kHexPlanePairs[p][0]], plane.columns);
          const AxisSample y = sample_axis(coordinates.value[kHexPlanePairs[p][1]], plane.rows);
          const int64_t down = int64_t{y.step} * plane.columns * channels;
          const float* texel =
              field.grid + plane.offset + (int64_t{y.low} * plane.columns + x.low) * channels;
          for (int c = 0; c < channels; ++c) {
            const float* t = texel + c;
            const float top = t[0] * (1 - x.weight) + t[x.step * channels] * x.weight;
            const float bottom = t[down] * (1 - x.weight) + t[down + x.step * channels] * x.weight;
            const float value = top * (1 - y.weight) + bottom * y.weight;
            feature[c] = p == 0 ? value : feature[c] * value;
          }
        }
      }
    }
  });
}

}  // namespace eg4d::cpu
