#pragma once

#include "mesh/triangle_mesh.h"

namespace eg4d::mesh {

// Quadric edge collapse (Garland & Heckbert 1997; meshoptimizer's, which keeps positions where they are) to
// about `faces`; a mesh of fewer stays. What the collapses fold together is repaired, so that a closed
// surface stays closed. Normals and uvs are dropped.
void simplify(TriangleMesh& mesh, size_t faces);

}  // namespace eg4d::mesh
