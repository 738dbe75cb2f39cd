#pragma once

#include <vector>

#include "mesh/depth_views.h"
#include "mesh/iso_surface.h"

namespace eg4d::mesh {

// Signed distances fused over depth pictures (Curless & Levoy 1996): at each point the mean, over the cameras
// that see it or see the surface at most `truncation` in front of it, of the distance along the view, cut to
// ±truncation and divided by it; positive inside. What so few cameras see that it may be an error of theirs
// is inside: nobody looks into an object.
class DepthField {
 public:
  DepthField(const Lattice& lattice, std::vector<DepthView> views, float truncation);

  // What iso_surface takes, with level 0.
  void operator()(const BlockNumber& block, float* values) const;

 private:
  const Lattice lattice_;
  const std::vector<DepthView> views_;
  const float truncation_;
};

}  // namespace eg4d::mesh
