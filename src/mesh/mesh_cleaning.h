#pragma once

#include <string>

#include "mesh/ellipsoids.h"
#include "mesh/triangle_mesh.h"

namespace eg4d::mesh {

// What kind of surface a mesh is. Normals and uvs play no part in this file; what changes triangles here
// drops them.
struct MeshFacts {
  size_t faces = 0, positions = 0;
  size_t pieces = 0;   // connected over edges
  size_t holes = 0;    // loops of edges that have one triangle
  size_t crossed = 0;  // edges that more than two triangles have, or two that disagree about its direction
  double volume = 0;   // of what is inside, where it is watertight
  bool watertight() const { return holes == 0 && crossed == 0; }
};
MeshFacts facts_of(const TriangleMesh& mesh);
std::string facts_text(const MeshFacts& facts);  // "39998 faces, 1 piece, watertight"

// The box around the positions; that of no positions is at the origin.
Box box_of(const TriangleMesh& mesh);

// Which piece each triangle is of, numbered by their first triangles: triangles that share an edge are of
// one.
struct Pieces {
  std::vector<uint32_t> of_triangle;
  size_t count = 0;
};
Pieces pieces_of(const TriangleMesh& mesh);

// Keeps pieces whose own box has at least this part of the whole's diagonal and so many faces, in any case
// the largest one. With `fill`, pieces that enclose a negative volume go too: they are the walls of a hollow
// inside.
void keep_large_pieces(TriangleMesh& mesh, float diameter, size_t faces, bool fill);

// Positions closer than the distance become one, triangles that lose their area by it go, as do second ones
// of the same three corners.
void merge_close(TriangleMesh& mesh, float distance);

// Leaves out triangles without an area, with a corner twice, and of two on the same corners both where they
// face each other, otherwise the second; then positions that no triangle has.
void drop_degenerate(TriangleMesh& mesh);

// Takes away the smaller triangles at edges that have more than two, and parts what meets in a point alone.
void repair_crossed(TriangleMesh& mesh);

// Closes every hole: a new position in its middle, and triangles from there.
void fill_holes(TriangleMesh& mesh);

// Positions that no triangle has go; the others keep their order.
void drop_unused(TriangleMesh& mesh);

}  // namespace eg4d::mesh
