#include <cmath>

#include "backend/cpu/hexplane_sampling.h"
#include "backend/cpu/splat_kernels.h"

namespace eg4d::cpu {
namespace {

// mean(e²) with e[r] = p[r] - 2·p[r+1] + p[r+2] along the rows; weighted gradient added to d.
double smoothness(const HexPlaneLayout::Plane& plane, int channels, const float* p, float weight, float* d) {
  const int64_t row = int64_t{plane.columns} * channels, count = (plane.rows - 2) * row;
  if (count <= 0) return 0;
  double sum = 0;
  const float scale = 2 * weight / static_cast<float>(count);
  for (int64_t i = 0; i < count; ++i) {
    const float e = p[i] - 2 * p[i + row] + p[i + 2 * row];
    sum += static_cast<double>(e) * e;
    if (!d) continue;
    d[i] += scale * e;
    d[i + row] -= 2 * scale * e;
    d[i + 2 * row] += scale * e;
  }
  return sum / static_cast<double>(count);
}

// mean |1-p|.
double distance_to_one(int64_t count, const float* p, float weight, float* d) {
  double sum = 0;
  const float scale = weight / static_cast<float>(count);
  for (int64_t i = 0; i < count; ++i) {
    const float difference = p[i] - 1;
    sum += std::abs(difference);
    if (d) d[i] += difference > 0 ? scale : difference < 0 ? -scale : 0;
  }
  return count > 0 ? sum / static_cast<double>(count) : 0;
}

}  // namespace

void hexplane_regularization(const HexPlaneRegularization& r) {
  double values[3] = {};
  for (size_t i = 0; i < r.layout->planes.size(); ++i) {
    const HexPlaneLayout::Plane& plane = r.layout->planes[i];
    const bool time = is_time_plane(static_cast<int>(i % 6));
    const float* p = r.grid + plane.offset;
    float* d = r.d_grid ? r.d_grid + plane.offset : nullptr;
    values[time ? 1 : 0] +=
        smoothness(plane, r.layout->channels, p, time ? r.time_smoothness : r.plane_smoothness, d);
    if (time)
      values[2] += distance_to_one(int64_t{plane.rows} * plane.columns * r.layout->channels, p, r.time_l1, d);
  }
  for (int i = 0; i < 3 && r.values; ++i) r.values[i] = values[i];
}

}  // namespace eg4d::cpu
