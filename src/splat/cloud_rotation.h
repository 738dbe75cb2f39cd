#pragma once

#include <array>

#include "io/ply.h"

namespace eg4d {

// Turns Gaussians about an axis through the origin (unit length; counter-clockwise when it points at the
// viewer): positions, orientations, and the spherical harmonics, so that a picture taken by a camera that was
// turned along is the same.
void rotate_cloud(GaussianCloud& cloud, const std::array<double, 3>& axis, double degrees);

}  // namespace eg4d
