#pragma once

#include "io/image.h"
#include "mesh/triangle_mesh.h"

namespace eg4d::mesh {

// Gives the positions that are not `known` the colours of the surface around them: from neighbour to
// neighbour, then evened out. Positions at one place are one, so that seams do not stop it; a piece of which
// nothing is known takes the mean of all that is, or grey.
void fill_colors(const TriangleMesh& mesh, std::vector<bool> known, std::vector<Vec3f>& colors);

// Gives the texels that are not `known` the colour of the nearest one that is, by steps to the side, up and
// down.
void fill_texels(Picture& texture, std::vector<bool> known);

}  // namespace eg4d::mesh
