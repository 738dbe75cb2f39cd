#pragma once

#include <filesystem>

#include "io/image.h"
#include "mesh/triangle_mesh.h"

// Meshes as files for other programs. All writers are atomic, and throw Error, one sentence naming the file,
// when a mesh is not sound (triangle_mesh.h), its uvs are not those of a texture that is given, or the file
// would be too large. A texture without pixels is none: the surface is grey then.
namespace eg4d::mesh {

enum class MorphDeltas {
  floats,  // glTF 2.0 as it is: what every program reads
  shorts,  // half the bytes, KHR_mesh_quantization: exact to a 65534th of the largest motion
};

struct MeshWriting {
  bool y_up = true;  // otherwise z, as the program has it; a GLB's is always y
  double scale = 1;  // metres of one unit, about the origin
  double fps = 20;  // of a file that moves: seconds between two of `times` are their distance · (times-1)/fps
  MorphDeltas deltas = MorphDeltas::floats;
  bool morph_normals = false;  // normals of all times too, for programs that light the object (GLB)
};

// GLB: one mesh with the texture as PNG inside and KHR_materials_unlit, because the lighting is in the
// colours.
void write_mesh_glb(const std::filesystem::path& path, const TriangleMesh& mesh, const Picture& texture,
                    const MeshWriting& writing);
// One that moves: each time is a morph target, and an animation of their weights goes through them; between
// times, positions move evenly. The reference is the mesh without weights.
void write_animated_glb(const std::filesystem::path& path, const AnimatedMesh& mesh, const Picture& texture,
                        const MeshWriting& writing);

// NAME.obj with NAME.mtl and NAME.png beside it; the object's name is told last, so that what it names is
// there.
void write_mesh_obj(const std::filesystem::path& path, const TriangleMesh& mesh, const Picture& texture,
                    const MeshWriting& writing);
// frame_0000.obj, …, one for each time, with texture.mtl and texture.png, which they share. Returns the
// files.
std::vector<std::filesystem::path> write_obj_sequence(const std::filesystem::path& folder,
                                                      const AnimatedMesh& mesh, const Picture& texture,
                                                      const MeshWriting& writing);

// Binary PLY: positions, normals, colours of positions (or none: empty), triangles. No texture, so that the
// mesh without seams is what belongs here.
void write_mesh_ply(const std::filesystem::path& path, const TriangleMesh& mesh,
                    const std::vector<std::array<uint8_t, 3>>& colors, const MeshWriting& writing);

// NAME.usda, text of USD: a Mesh whose points and normals are sampled at the times, and a UsdPreviewSurface
// that shows NAME.png beside it as it is. One time: nothing is sampled.
void write_mesh_usd(const std::filesystem::path& path, const AnimatedMesh& mesh, const Picture& texture,
                    const MeshWriting& writing);

}  // namespace eg4d::mesh
