#pragma once

#include <functional>
#include <vector>

#include "mesh/ellipsoids.h"
#include "mesh/triangle_mesh.h"

namespace eg4d::mesh {

// The same Gaussians at several times.
using Moments = std::vector<Ellipsoids>;

// The moment whose surface is best carried to the others: where the fewest neighbours come apart later. At a
// moment in which parts touch that part at others, their surfaces would be one.
size_t reference_moment(const Moments& moments);

// Carries a surface of the moment `reference` through all of them: each position moves as the nearest
// Gaussians around it do, by the rigid motion that fits their weighted centres best (Horn 1987), and the
// motions are smoothed over the surface. `times`: of the moments, ascending. Positions of the reference
// moment are `surface`'s own. Throws Interrupted.
AnimatedMesh carry_surface(const TriangleMesh& surface, const Moments& moments, size_t reference,
                           const std::vector<float>& times);

}  // namespace eg4d::mesh
