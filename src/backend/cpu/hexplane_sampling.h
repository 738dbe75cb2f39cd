#pragma once

// What hexplane_forward and hexplane_backward share: where a point falls in a plane.

#include <cmath>
#include <cstdint>

#include "backend/splat_ops.h"

namespace eg4d::cpu {

inline const HexPlaneLayout& layout_of(const HexPlane& field) {
  return field.context->description.planes;
}

// Points handled together.
inline constexpr int64_t kHexPlaneChunk = 256;

// The six coordinate pairs of (x,y,z,t); the first runs along a plane's columns, the second along its rows.
inline constexpr int kHexPlanePairs[6][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};
inline bool is_time_plane(int plane_in_level) {
  return kHexPlanePairs[plane_in_level][1] == 3;
}

// Bilinear interpolation along one axis of `size` texels: value = (1-weight)·texel[low] +
// weight·texel[low+1]. `slope` = d(position in texels)/d(normalised coordinate), 0 where the coordinate is
// clamped to the border; the border itself counts as clamped, as in PyTorch's grid_sample. On an axis of one
// texel the weight is 0 and texel low+1 must not be touched.
struct AxisSample {
  int low = 0;
  float weight = 0;
  float slope = 0;
};
inline AxisSample sample_axis(float coordinate, int size) {
  const float scale = 0.5f * static_cast<float>(size - 1);
  const float last = static_cast<float>(size - 1);
  const float position = (coordinate + 1) * scale;
  AxisSample sample;
  if (!(position > 0) || size < 2) return sample;  // also NaN
  if (position >= last) {
    sample.low = size - 2;
    sample.weight = 1;
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
  coordinates.value[3] = *field.time;
  return coordinates;
}

// One level: its planes, and the sizes of its four axes.
struct HexPlaneLevel {
  struct Plane {
    int64_t offset;       // of its first texel, in floats
    int64_t right, down;  // from a texel to its neighbours, in floats; 0 on an axis of one texel
    int64_t row;          // floats in a row
  };
  Plane planes[6];
  int sizes[4];
};
inline HexPlaneLevel hexplane_level(const HexPlaneLayout& layout, int level) {
  HexPlaneLevel result;
  for (int p = 0; p < 6; ++p) {
    const HexPlaneLayout::Plane& plane = layout.planes[static_cast<size_t>(level) * 6 + p];
    const int64_t row = int64_t{plane.columns} * layout.channels;
    result.planes[p] = {plane.offset, plane.columns > 1 ? layout.channels : 0, plane.rows > 1 ? row : 0, row};
    result.sizes[kHexPlanePairs[p][0]] = plane.columns;
    result.sizes[kHexPlanePairs[p][1]] = plane.rows;
  }
  return result;
}

// Where a point falls on the four axes of a level.
struct PointSample {
  AxisSample axis[4];
};
inline PointSample sample_point(const HexPlaneCoordinates& coordinates, const HexPlaneLevel& level) {
  PointSample sample;
  for (int a = 0; a < 4; ++a) sample.axis[a] = sample_axis(coordinates.value[a], level.sizes[a]);
  return sample;
}
// Offset of the upper left of the four texels of plane p, in floats.
inline int64_t texel_offset(const PointSample& sample, const HexPlaneLevel& level, int channels, int p) {
  return level.planes[p].offset + sample.axis[kHexPlanePairs[p][1]].low * level.planes[p].row +
         int64_t{sample.axis[kHexPlanePairs[p][0]].low} * channels;
}

}  // namespace eg4d::cpu
