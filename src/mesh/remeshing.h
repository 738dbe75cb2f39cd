#pragma once

#include "mesh/triangle_mesh.h"

namespace eg4d::mesh {

// Isotropic remeshing (Botsch & Kobbelt 2004): so many rounds of edges longer than 4/3·`edge` split, shorter
// than 4/5·`edge` collapsed, edges turned towards six neighbours a position, and positions moved along the
// surface to their neighbours' middle. The mesh must have no edge of more than two triangles; holes keep
// their borders. Normals and uvs are dropped.
void remesh(TriangleMesh& mesh, float edge, int rounds);

}  // namespace eg4d::mesh
