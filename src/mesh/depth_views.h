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

// The depth of Gaussians from `views` cameras all around the box, evenly over the sphere, looking at its
// centre with square pictures that it fills; where at least half of the light is stopped. It is the middle
// one of two layers that have the first three moments of the depths in a pixel (each weighted as its colour
// is): their mean would lie between the front and what shines through from the back. Where neighbouring
// pixels differ by more than `step` the depth is not known. Throws Interrupted.
std::vector<DepthView> render_depths(Backend& backend, const Ellipsoids& ellipsoids, const Box& box,
                                     int views, int pixels, float step, Progress& progress);

}  // namespace eg4d::mesh
