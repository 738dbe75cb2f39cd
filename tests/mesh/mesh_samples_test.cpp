// Files of one moving mesh in every format, for programs of others to read: tests/formats/meshes.mjs. They go
// into the folder EG4D_MESH_SAMPLES, or are written and thrown away.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <numbers>

#include "io/atomic_file.h"
#include "mesh/mesh_writers.h"
#include "mesh/texture_atlas.h"
#include "support/temporary_folder.h"
#include "support/test_meshes.h"

namespace eg4d::mesh {
namespace {

AnimatedMesh swaying_torus() {
  const TriangleMesh torus = test::torus_mesh(24, 12);
  AnimatedMesh mesh{torus, {0, 0.25f, 0.5f, 0.75f, 1}, {}, {}};
  for (const float time : mesh.times) {
    std::vector<Vec3f>& positions = mesh.positions.emplace_back(torus.positions);
    for (Vec3f& p : positions)
      p += {0.3f * p.z * std::sin(2 * std::numbers::pi_v<float> * time), 0, 0.4f * time * p.x * p.x};
    mesh.normals.push_back(vertex_normals(positions, torus.triangles));
  }
  return mesh;
}

// Every texel tells where it is: red grows to the right, green downwards, blue is a dark grey that light
// would change.
Picture coordinates(int size) {
  Picture picture(size, size, 3);
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x) {
      uint8_t* texel = &picture.data[static_cast<size_t>(y * size + x) * 3];
      texel[0] = static_cast<uint8_t>(x * 255 / (size - 1));
      texel[1] = static_cast<uint8_t>(y * 255 / (size - 1));
      texel[2] = 64;
    }
  return picture;
}

nlohmann::json numbers(const std::vector<Vec3f>& values) {
  nlohmann::json list;
  for (const Vec3f v : values)
    for (const float number : {v.x, v.z, -v.y}) list.push_back(number);  // y up
  return list;
}

TEST(MeshSamples, AreWrittenInEveryFormat) {
  const test::TemporaryFolder temporary;
  const char* named = std::getenv("EG4D_MESH_SAMPLES");
  const std::filesystem::path folder = named ? std::filesystem::path(named) : temporary.path();
  const AnimatedMesh plain = swaying_torus();
  const Atlas atlas = make_atlas(plain.reference, {.size = 64});
  const AnimatedMesh mesh = with_atlas(plain, atlas);
  const Picture texture = coordinates(64);
  const MeshWriting writing{.fps = 4};

  write_mesh_glb(folder / "moment.glb", mesh.reference, texture, writing);
  write_animated_glb(folder / "moves.glb", mesh, texture, writing);
  write_animated_glb(folder / "shorts.glb", mesh, texture, {.fps = 4, .deltas = MorphDeltas::shorts});
  write_animated_glb(folder / "lit.glb", mesh, {}, {.fps = 4, .morph_normals = true});
  write_mesh_obj(folder / "moment.obj", mesh.reference, texture, writing);
  write_obj_sequence(folder / "sequence", mesh, texture, writing);
  std::vector<std::array<uint8_t, 3>> colors;
  for (size_t i = 0; i < plain.reference.positions.size(); ++i)
    colors.push_back({static_cast<uint8_t>(i % 256), 64, static_cast<uint8_t>(i / 256)});
  write_mesh_ply(folder / "moment.ply", plain.reference, colors, writing);
  write_mesh_usd(folder / "moves.usda", mesh, texture, writing);

  nlohmann::json truth;
  for (size_t i = 0; i < mesh.times.size(); ++i) {
    truth["positions"].push_back(numbers(mesh.positions[i]));
    truth["normals"].push_back(numbers(mesh.normals[i]));
  }
  for (const Vec2f uv : mesh.reference.uvs)
    for (const float coordinate : {uv.x, uv.y}) truth["uvs"].push_back(coordinate);
  truth["triangles"] = mesh.reference.triangles;
  truth["plain"] = {{"positions", numbers(plain.reference.positions)},
                    {"triangles", plain.reference.triangles}};
  write_file_atomically(folder / "truth.json", truth.dump());
  EXPECT_TRUE(std::filesystem::exists(folder / "sequence/frame_0004.obj"));
}

}  // namespace
}  // namespace eg4d::mesh
