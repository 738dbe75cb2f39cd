#pragma once

#include "mesh/mesh_writers.h"

// What the writers of meshes share.
namespace eg4d::mesh {

// In the file's axes and units.
std::vector<Vec3f> positions_as_written(std::vector<Vec3f> positions, const MeshWriting& writing);
// Of length 1, whatever they were.
std::vector<Vec3f> normals_as_written(std::vector<Vec3f> normals, const MeshWriting& writing);
// All of it, after it was checked; without the uvs where there is no texture. Throws Error as the writers do.
TriangleMesh as_written(const std::filesystem::path& path, TriangleMesh mesh, const Picture& texture,
                        const MeshWriting& writing);

// The mesh at one of its times.
TriangleMesh moment_of(const AnimatedMesh& mesh, size_t time);

// Throws Error when files beside this one cannot be named in a text: control characters or '@' in its name.
void require_plain_name(const std::filesystem::path& path);

}  // namespace eg4d::mesh
