#pragma once

#include <array>
#include <string>
#include <vector>

#include "mesh/vector.h"
#include "splat/renderer.h"

namespace eg4d::mesh {

// The Gaussians of one time in host memory: what a surface is made of.
struct Ellipsoids {
  std::vector<Vec3f> means;
  std::vector<Vec3f> scales;                    // standard deviations along their axes, ≥ 0
  std::vector<std::array<float, 4>> rotations;  // unit quaternions w,x,y,z
  std::vector<float> opacities;                 // in (0,1)

  size_t count() const { return means.size(); }
  void reserve(size_t count);
  void push_back(Vec3f mean, Vec3f scale, std::array<float, 4> rotation, float opacity);
};

// Waits for the device. Throws Error, one sentence, when a number is not finite.
Ellipsoids ellipsoids_of(const Renderer::Deformed& deformed);

using Rotation = std::array<Vec3f, 3>;  // columns: where the axes x, y and z go
Rotation rotation_matrix(const std::array<float, 4>& quaternion);

// An axis-aligned box.
struct Box {
  Vec3f least, most;

  Vec3f center() const { return (least + most) * 0.5f; }
  Vec3f size() const { return most - least; }
  float longest_side() const;
};

// Half of the sides of the box around what lies within 3 standard deviations of Gaussian i.
Vec3f three_sigma(const Ellipsoids& ellipsoids, size_t i);

// The box around what lies within 3 standard deviations of the Gaussians, and which they are, ascending:
// those that are at least as opaque as `min_opacity`, without those that reach farther than 0.15 of the
// object's size beyond nearly all of it (training leaves some far away). Throws Error when there is none.
struct Extent {
  Box box;
  std::vector<uint32_t> inside;
};
Extent extent_of(const Ellipsoids& ellipsoids, float min_opacity);

Ellipsoids select(const Ellipsoids& ellipsoids, const std::vector<uint32_t>& rows);

}  // namespace eg4d::mesh
