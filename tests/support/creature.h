#pragma once

#include "mesh/carried_surface.h"

namespace eg4d::test {

// An animal on four legs whose surface is known: the zero of a smooth union of capsules and spheres (z up,
// about 1.5 long), moved by a known map: it bends sideways and its legs swing.
float creature_distance(mesh::Vec3f p);                 // below 0 inside; near the surface about the distance
mesh::Vec3f creature_moved(mesh::Vec3f p, float time);  // where a point of the body is at a time in [0,1]

// Its surface at the times, one topology; positions are exact, `resolution` is as in lattice_around.
mesh::AnimatedMesh creature_surface(int resolution, const std::vector<float>& times);

// Flat Gaussians on its surface, as training leaves them where it goes well; with `noise` as it does where
// not: scales, opacities and places vary, a tenth lies inside, and one in fifty floats about.
mesh::Moments creature_gaussians(int count, bool noise, const std::vector<float>& times);

}  // namespace eg4d::test
