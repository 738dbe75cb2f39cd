#pragma once

#include <string>

#include "mesh/triangle_mesh.h"

namespace eg4d::mesh {

// Throws Error, one sentence that `what` begins ("cannot write 'a.glb'"), when a mesh is not sound: it has no
// triangle, more than 2³¹ positions or triangles, a triangle of a position that there is not, a number that
// is not finite, or normals or uvs that are neither none nor one for each position.
void check_sound(const TriangleMesh& mesh, const std::string& what);
// All of its times too: at least one, ascending in [0,1], each with as many positions (and normals, or none).
void check_sound(const AnimatedMesh& mesh, const std::string& what);

}  // namespace eg4d::mesh
