#pragma once

// What hexplane_forward and hexplane_backward share: where a point falls in a plane.

#include <cmath>
#include <cstdint>

#include "backend/splat_ops.h"

namespace eg4d::cpu {

// The six coordinate pairs of (x,y,z,t); the first runs along a plane's columns, the second along its rows.
inline constexpr int kHexPlanePairs[6][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};
inline bool is_time_plane(int plane_in_level) {
  return kHexPlanePairs[plane_in_level][1] == 3;
}

// Bilinear interpolation along one axis of `size` texels: value = (1-weight)·texel[low] +
// weight·texel[low+step]. `slope` = d(position in texels)/d(normalised coordinate), 0 where the coordinate is
// clamped to the border; the border itself counts as clamped, as in PyTorch's grid_sample.
struct AxisSample {
  int low = 0;
  int step = 0;  // 0 on an axis of one texel
  float weight = 0;
  float slope = 0;
};
inline AxisSample sample_axis(float coordinate, int size) {
  const float scale = 0.5f * static_cast<float>(size - 1);
  const float last = static_cast<float>(size - 1);
  const float position = (coordinate + 1) * scale;
  AxisSample sample;
  sample.step = size > 1 ? 1 : 0;
  if (!(position > 0)) return sample;  // also NaN
  if (position >= last) {
    sample.low = size - 1 - sample.step;
    sample.weight = static_cast<float>(sample.step);
    return sample;
  }
  sample.low = static_cast<int>(position);
  sample.weight = position - static_cast<float>(sample.low);
  sample.slope = scale;
  return sample;
}

// (x,y,z) normalised with the box, and t as it is. factor[a] = 2/(box[1]-box[0]).
struct HexPlaneCoordinates {
  float value[4];
};
inline HexPlaneCoordinates hexplane_coordinates(const HexPlane& field, int64_t point) {
  HexPlaneCoordinates coordinates;
  for (int a = 0; a < 3; ++a) {
    const float factor = 2 / (field.box[3 + a] - field.box[a]);
    coordinates.value[a] = (field.points[point * 3 + a] - field.box[a]) * factor - 1;
  }
  coordinates.value[3] = field.times ? field.times[point] : field.time;
  return coordinates;
}

}  // namespace eg4d::cpu
