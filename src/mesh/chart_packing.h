#pragma once

#include "mesh/triangle_mesh.h"

namespace eg4d::mesh {

// A chart laid flat: triangles as three points each.
struct FlatChart {
  std::vector<std::array<Vec2f, 3>> triangles;
};

// Where a chart lies: p becomes turn·p·scale + offset, in texels; the turn is by quarters, counter-clockwise.
struct Placement {
  int quarters = 0;
  Vec2f offset;

  Vec2f place(Vec2f p, float scale) const;
};

struct Packing {
  float scale = 0;  // texels of one unit, of all charts
  std::vector<Placement> placements;
};

// Places charts in a square of size × size texels as large as they fit, `padding` texels apart (fewer where
// that leaves no room for them) and half as far from the border. Charts are put, the tallest first, on what
// lies there already, following its outline (as in Lévy et al. 2002, "Least Squares Conformal Maps"). Throws
// Error when there is no room.
Packing pack_charts(const std::vector<FlatChart>& charts, int size, int padding);

// The turn of a plane, in radians, after which the smallest rectangle around the points is upright.
float upright_turn(const std::vector<Vec2f>& points);

}  // namespace eg4d::mesh
