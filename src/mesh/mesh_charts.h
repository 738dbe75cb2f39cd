#pragma once

#include "mesh/triangle_mesh.h"

namespace eg4d::mesh {

// A connected part of a surface that can be laid flat along one direction without overlaps.
struct Chart {
  std::vector<uint32_t> triangles;  // ascending
  Vec3f axis;                       // of length 1; away from it every triangle's normal leans at most so far:
};
inline constexpr double kLeastChartCosine = 0.55;

// A direction's plane: right, up and the direction are a right-handed basis.
struct PlaneBasis {
  Vec3f right, up;
};
PlaneBasis plane_of(Vec3f axis);

// Every triangle of a sound mesh (mesh_check.h) is in one chart. Charts end where more or fewer than two
// triangles meet at an edge. They are grown from seeds by their normals, the seeds moved to the charts'
// middles (as in Cohen-Steiner et al. 2004, "Variational Shape Approximation"), small ones joined, and those
// that overlap themselves when laid flat are cut.
std::vector<Chart> cut_into_charts(const std::vector<Vec3f>& positions,
                                   const std::vector<std::array<uint32_t, 3>>& triangles);

// The part of that which only looks at the plane: of the triangles of a chart, in the order given, those that
// would overlap one before them. Exposed for tests.
std::vector<uint32_t> overlapping(const std::vector<Vec3f>& positions,
                                  const std::vector<std::array<uint32_t, 3>>& triangles, const Chart& chart);

}  // namespace eg4d::mesh
