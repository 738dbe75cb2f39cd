#pragma once

#include <vector>

#include "core/progress.h"
#include "mesh/ellipsoids.h"
#include "scene/camera.h"

namespace eg4d::mesh {

// What one camera sees.
struct DepthView {
  Camera camera;
  // [height,width] along the camera's axis; below 0: nothing is there; NaN: not known.
  std::vector<float> depth;
};

// The depth of Gaussians from `views` cameras all around the box (texture_bake.h), where at least half of the
// light is stopped: the mean of their centres' depths, each weighted as its colour is. Where these are
// farther apart than `step`/2 (their standard deviation), something shines through from behind; it is then
// the middle one of two layers that have the same first three moments. Where neighbouring pixels differ by
// more than `step` the depth is not known. Throws Interrupted.
std::vector<DepthView> render_depths(Backend& backend, const Ellipsoids& ellipsoids, const Box& box,
                                     int views, int pixels, float step, Progress& progress);

}  // namespace eg4d::mesh
