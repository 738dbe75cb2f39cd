#pragma once

#include <span>

#include "mesh/surface_points.h"
#include "scene/camera.h"

namespace eg4d::mesh {

// Where a camera sees a point: pixels (the first one's middle is 0) and view z.
struct Projected {
  float x = 0, y = 0, z = 0;
};
Projected project(const Camera& camera, Vec3f point);

// [height,width] view z of the nearest triangle at each pixel's middle, from either side; infinity where
// there is none. Triangles that reach behind the camera's near plane (0.01) are left out. With `points`,
// which then has as many, also which point of the surface that is.
std::vector<float> depth_buffer(std::span<const Vec3f> positions,
                                const std::vector<std::array<uint32_t, 3>>& triangles, const Camera& camera,
                                std::vector<SurfacePoint>* points = nullptr);

}  // namespace eg4d::mesh
