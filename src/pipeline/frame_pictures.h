#pragma once

#include <vector>

#include "io/image.h"
#include "pipeline/shots.h"
#include "splat/gaussians.h"
#include "splat/renderer.h"

namespace eg4d {

// What a rendered view becomes as an 8-bit picture, other than its colours on a background (to_picture).
// With `transparent` pictures are RGBA, otherwise RGB.

// Of a view on black: its colours, not premultiplied, and how far each pixel is covered.
Picture transparent_picture(const Renderer::View& view);

// Distances between which depth is shown: the cameras' distances from the middle of the Gaussians, give or
// take the radius around it that holds nearly all of them.
struct DepthRange {
  float near = 0, far = 1;
};
DepthRange depth_range(const std::vector<Shot>& shots, const Gaussians& gaussians);

// Grey: white at the near end, dark at the far end; black (transparent) where less than half is covered.
Picture depth_picture(const Renderer::View& view, DepthRange range, bool transparent);

// Which way the surface faces that the depths describe, in the camera's axes: red to the right, green up,
// blue towards the camera, each from -1 (0) to 1 (255); black (transparent) where less than half is covered
// or the pixel has no neighbour that is.
Picture normal_picture(const Renderer::View& view, const Camera& camera, bool transparent);

// Each block of factor × factor pixels becomes one, their mean, colours weighted by alpha. Sides are
// multiples of `factor`.
Picture box_average(const Picture& picture, int factor);

}  // namespace eg4d
