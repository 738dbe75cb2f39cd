#pragma once

// What the kernels of the hexplane share: its planes, and where a point falls in them. A thread takes W
// channels of one point on one level; the threads of a point are neighbours.

#include "backend/cuda/gaussian_rows.cuh"
#include "backend/splat_ops.h"

namespace eg4d::cuda {

inline constexpr int kMostLevels = 8;
inline constexpr int kHexPlaneThreads = 256;

// HexPlaneLayout for a kernel's arguments.
struct HexPlaneGeometry {
  int channels, levels;
  struct Plane {
    int64_t offset;       // of its first texel, in floats
    uint32_t first_cell;  // texels of the planes before
    int rows, columns;
  } planes[kMostLevels * 6];
  uint32_t cells;  // texels of all planes
};
HexPlaneGeometry hexplane_geometry(const HexPlaneLayout& layout);  // hexplane_forward.cu

// The six coordinate pairs of (x,y,z,t); the first runs along a plane's columns, the second along its rows.
// Functions, because kernels cannot read a host's array.
__host__ __device__ constexpr int first_axis(int plane) {
  return plane < 3 ? 0 : plane < 5 ? 1 : 2;
}
__host__ __device__ constexpr int second_axis(int plane) {
  return plane < 3 ? plane + 1 : plane < 5 ? plane - 1 : 3;
}

// How a block's threads divide its points.
struct HexPlaneBlock {
  int per_point;  // units of W channels
  int points;     // of a block
  __host__ __device__ HexPlaneBlock(const HexPlaneGeometry& g, int width)
      : per_point(g.levels * g.channels / width),
        points(per_point < kHexPlaneThreads ? kHexPlaneThreads / per_point : 1) {}
};

// value = (1-weight)·texel[low] + weight·texel[low+1]. slope = d(position in texels)/d(normalised
// coordinate), 0 where the coordinate is clamped to the border; the border itself counts as clamped. On an
// axis of one texel the weight is 0 and texel low+1 must not be touched.
struct AxisSample {
  int low;
  float weight, slope;
};
__device__ inline AxisSample sample_axis(float coordinate, int size) {
  const float scale = 0.5f * static_cast<float>(size - 1), last = static_cast<float>(size - 1);
  const float position = __fmul_rn(__fadd_rn(coordinate, 1.0f), scale);
  if (!(position > 0) || size < 2) return {0, 0, 0};  // also NaN
  if (position >= last) return {size - 2, 1, 0};
  const int low = static_cast<int>(position);
  return {low, position - static_cast<float>(low), scale};
}

// (x,y,z) normalised with the box, and t as it is.
struct Coordinates {
  float value[4];
};
__device__ inline Coordinates coordinates_of(const HexPlane& field, int64_t point) {
  Coordinates c;
  for (int a = 0; a < 3; ++a) {
    const float factor = 2 / (field.box[3 + a] - field.box[a]);
    c.value[a] = fmaf(field.points[point * 3 + a] - field.box[a], factor, -1.0f);
  }
  c.value[3] = *field.time;
  return c;
}

// Sizes of a level's four axes.
__device__ inline int axis_size(const HexPlaneGeometry& g, int level, int axis) {
  const HexPlaneGeometry::Plane* planes = g.planes + 6 * level;
  return axis == 0   ? planes[0].columns
         : axis == 1 ? planes[0].rows
         : axis == 2 ? planes[1].rows
                     : planes[2].rows;
}

struct PointSample {
  AxisSample axis[4];
};
__device__ inline PointSample sample_point(const HexPlaneGeometry& g, const Coordinates& c, int level) {
  PointSample s;
  for (int a = 0; a < 4; ++a) s.axis[a] = sample_axis(c.value[a], axis_size(g, level, a));
  return s;
}

// W channels.
template <int W>
struct Channels {
  float v[W];
};
template <int W>
__device__ inline Channels<W> load_channels(const float* from) {
  Channels<W> c;
  if constexpr (W == 4) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    c.v[0] = four.x, c.v[1] = four.y, c.v[2] = four.z, c.v[3] = four.w;
  } else if constexpr (W == 2) {
    const float2 two = *reinterpret_cast<const float2*>(from);
    c.v[0] = two.x, c.v[1] = two.y;
  } else {
    for (int k = 0; k < W; ++k) c.v[k] = from[k];
  }
  return c;
}
template <int W>
__device__ inline void store_channels(float* to, const Channels<W>& c) {
  if constexpr (W == 4)
    *reinterpret_cast<float4*>(to) = make_float4(c.v[0], c.v[1], c.v[2], c.v[3]);
  else if constexpr (W == 2)
    *reinterpret_cast<float2*>(to) = make_float2(c.v[0], c.v[1]);
  else
    for (int k = 0; k < W; ++k) to[k] = c.v[k];
}

// The four texels around a point in one plane.
template <int W>
struct Corners {
  Channels<W> upper_left, upper_right, lower_left, lower_right;
};
template <int W>
__device__ inline Corners<W> load_corners(const HexPlaneGeometry& g, const float* grid, const PointSample& s,
                                          int level, int plane, int channel) {
  const HexPlaneGeometry::Plane& p = g.planes[6 * level + plane];
  const int64_t row = int64_t{p.columns} * g.channels;
  const float* at = grid + p.offset + s.axis[second_axis(plane)].low * row +
                    int64_t{s.axis[first_axis(plane)].low} * g.channels + channel;
  const int64_t right = p.columns > 1 ? g.channels : 0, down = p.rows > 1 ? row : 0;
  return {load_channels<W>(at), load_channels<W>(at + right), load_channels<W>(at + down),
          load_channels<W>(at + down + right)};
}

}  // namespace eg4d::cuda
