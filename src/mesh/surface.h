#pragma once

#include "core/progress.h"
#include "mesh/ellipsoids.h"
#include "mesh/mesh_cleaning.h"

namespace eg4d::mesh {

enum class SurfaceMethod {
  depth,    // where the object is seen to be: depth pictures from all around, fused
  density,  // where the Gaussians' density is 0.5
  paper,    // likewise, with lattice, cleaning and smoothing as EG4D publishes them
};

struct SurfaceOptions {
  SurfaceMethod method = SurfaceMethod::depth;
  int resolution = 256;  // lattice points along the object's longest side, 16 to 512; paper: 128 points
  int faces = 40000;     // at most about so many, at least 100; paper: 100000
  int views = 64;        // of depth, 8 to 1024
};
// The published recipe's.
SurfaceOptions paper_options();

// About how many bytes of host memory a surface takes while it is made.
size_t surface_memory(const SurfaceOptions& options, size_t gaussians);

// The surface of Gaussians at one time, with normals: one mesh without walls inside, of which pieces smaller
// than a tenth (paper: a fifth) of its diagonal are left out. Depth and density give closed surfaces; the
// published cleaning may leave holes. Throws Error, one sentence, when there are no Gaussians or nothing is
// left; Interrupted.
TriangleMesh make_surface(Backend& backend, const Ellipsoids& ellipsoids, const SurfaceOptions& options,
                          Progress& progress);

}  // namespace eg4d::mesh
