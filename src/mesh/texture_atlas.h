#pragma once

#include "mesh/triangle_mesh.h"

namespace eg4d::mesh {

struct AtlasOptions {
  int size = 1024;  // texels a side, 16 to 8192
  int padding = 4;  // texels between two charts; fewer where there are too many of them for the size
};

struct Atlas {
  // Triangles in the order they had, with uvs; positions that lie on a seam once for each chart. Positions
  // that no triangle has are left out.
  TriangleMesh mesh;
  std::vector<uint32_t> sources;  // [positions of `mesh`] which of the input's each is
  int charts = 0;
  double coverage = 0;  // part of the texture that triangles cover
};

// Cuts a surface into charts, each of which is projected along its mean direction, and packs them. No two
// triangles overlap; a texel stands for at most 1.85 times the area that any other one does. Triangles
// without an area have their place too. The same result on every machine. Throws Error when the mesh is not
// sound (triangle_mesh.h), or there are more charts than the size has room for.
Atlas make_atlas(const TriangleMesh& mesh, const AtlasOptions& options = {});

// The moving surface whose `reference` the atlas was made of, with the atlas' triangles and uvs.
AnimatedMesh with_atlas(const AnimatedMesh& mesh, const Atlas& atlas);

}  // namespace eg4d::mesh
