#include "mesh/mesh_writers.h"

#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "mesh/texture_atlas.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "support/test_meshes.h"

namespace eg4d::mesh {
namespace {

// Two triangles, their corners in z-up axes.
TriangleMesh square() {
  TriangleMesh mesh;
  mesh.positions = {{0, 0, 0}, {1, 0, 0}, {1, 0, 2}, {0, 0.5f, 2}};
  mesh.normals = {{0, -1, 0}, {0, -1, 0}, {0, -1, 0}, {0, -1, 0}};
  mesh.triangles = {{0, 1, 2}, {0, 2, 3}};
  mesh.uvs = {{0, 1}, {1, 1}, {1, 0}, {0, 0.25f}};
  return mesh;
}
AnimatedMesh moving(int times = 3) {
  AnimatedMesh mesh{square(), {}, {}, {}};
  for (int i = 0; i < times; ++i) {
    mesh.times.push_back(times > 1 ? static_cast<float>(i) / static_cast<float>(times - 1) : 0.f);
    mesh.positions.push_back(mesh.reference.positions);
    for (Vec3f& p : mesh.positions.back()) p.z += 0.5f * static_cast<float>(i) * p.x;
    mesh.normals.push_back(mesh.reference.normals);
  }
  return mesh;
}
Picture checks() {
  Picture picture(4, 4, 3);
  for (size_t i = 0; i < 16; ++i) picture.data[3 * i + i % 3] = 200;
  return picture;
}

// A GLB, taken apart.
struct Glb {
  std::string buffer;
  nlohmann::json gltf;

  explicit Glb(const std::filesystem::path& path) {
    const std::string file = test::read_text(path);
    const auto word = [&](size_t at) {
      uint32_t value = 0;
      std::memcpy(&value, &file.at(at), 4);
      return value;
    };
    EXPECT_EQ(file.substr(0, 4), "glTF");
    EXPECT_EQ(word(8), file.size());
    gltf = nlohmann::json::parse(file.substr(20, word(12)));
    buffer = file.substr(20 + word(12) + 8);
    EXPECT_EQ(word(20 + word(12)), buffer.size());
    EXPECT_EQ(gltf["buffers"][0]["byteLength"], buffer.size());
  }
  template <class T = float>
  std::vector<T> values(const nlohmann::json& accessor_number) const {
    const nlohmann::json& accessor = gltf["accessors"][accessor_number.get<size_t>()];
    const nlohmann::json& view = gltf["bufferViews"][accessor["bufferView"].get<size_t>()];
    std::vector<T> result(view["byteLength"].get<size_t>() / sizeof(T));
    std::memcpy(result.data(), buffer.data() + view["byteOffset"].get<size_t>(), result.size() * sizeof(T));
    return result;
  }
  const nlohmann::json& primitive() const { return gltf["meshes"][0]["primitives"][0]; }
};

TEST(MeshWriters, AGlbOfOneMoment) {
  test::TemporaryFolder folder;
  write_mesh_glb(folder / "a.glb", square(), checks(), {.y_up = false, .scale = 2});
  const Glb glb(folder / "a.glb");
  const nlohmann::json attributes = glb.primitive()["attributes"];
  EXPECT_EQ(glb.values(attributes["POSITION"]), (std::vector<float>{0, 0, 0, 2, 0, 0, 2, 4, 0, 0, 4, -1}))
      << "y is up whatever was asked for";
  EXPECT_EQ(glb.values(attributes["NORMAL"])[2], 1);
  EXPECT_EQ(glb.values(attributes["TEXCOORD_0"]), (std::vector<float>{0, 1, 1, 1, 1, 0, 0, 0.25f}));
  EXPECT_EQ(glb.values<uint32_t>(glb.primitive()["indices"]), (std::vector<uint32_t>{0, 1, 2, 0, 2, 3}));
  const nlohmann::json position = glb.gltf["accessors"][attributes["POSITION"].get<size_t>()];
  EXPECT_EQ(position["min"], (nlohmann::json{0, 0, -1}));
  EXPECT_EQ(position["max"], (nlohmann::json{2, 4, 0}));
  EXPECT_EQ(glb.gltf["extensionsUsed"], nlohmann::json::array({"KHR_materials_unlit"}));
  EXPECT_TRUE(glb.gltf["materials"][0]["extensions"].contains("KHR_materials_unlit"));
  const nlohmann::json view = glb.gltf["bufferViews"][glb.gltf["images"][0]["bufferView"].get<size_t>()];
  const std::string png = glb.buffer.substr(view["byteOffset"], view["byteLength"]);
  EXPECT_EQ(decode_picture(std::as_bytes(std::span(png)), "texture").data, checks().data);
  EXPECT_FALSE(glb.gltf.contains("animations"));

  write_mesh_glb(folder / "grey.glb", square(), {}, {});
  const Glb grey(folder / "grey.glb");
  EXPECT_FALSE(grey.gltf.contains("images"));
  EXPECT_FALSE(grey.gltf.contains("extensionsUsed")) << "without a texture it is lit";
  EXPECT_FALSE(grey.primitive()["attributes"].contains("TEXCOORD_0"));
}

TEST(MeshWriters, AGlbThatMoves) {
  test::TemporaryFolder folder;
  write_animated_glb(folder / "a.glb", moving(), checks(), {.fps = 4, .morph_normals = true});
  const Glb glb(folder / "a.glb");
  const nlohmann::json targets = glb.primitive()["targets"];
  ASSERT_EQ(targets.size(), 2u) << "the reference needs none";
  EXPECT_EQ(glb.values(targets[1]["POSITION"]), (std::vector<float>{0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0}));
  EXPECT_EQ(glb.values(targets[1]["NORMAL"]), std::vector<float>(12, 0));
  EXPECT_EQ(glb.gltf["meshes"][0]["weights"], (nlohmann::json{0.0, 0.0}));
  EXPECT_EQ(glb.gltf["meshes"][0]["extras"]["targetNames"], (nlohmann::json{"time_0001", "time_0002"}));
  const nlohmann::json animation = glb.gltf["animations"][0];
  EXPECT_EQ(glb.values(animation["samplers"][0]["input"]), (std::vector<float>{0, 0.25f, 0.5f}));
  EXPECT_EQ(glb.values(animation["samplers"][0]["output"]), (std::vector<float>{0, 0, 1, 0, 0, 1}));
  EXPECT_EQ(animation["channels"][0]["target"]["path"], "weights");
}

TEST(MeshWriters, DeltasInShortsAreNear) {
  test::TemporaryFolder folder;
  AnimatedMesh mesh = moving();
  mesh.positions[1][2].z += 0.123f;
  write_animated_glb(folder / "a.glb", mesh, checks(), {.deltas = MorphDeltas::shorts});
  const Glb glb(folder / "a.glb");
  EXPECT_EQ(glb.gltf["extensionsRequired"], nlohmann::json::array({"KHR_mesh_quantization"}));
  const float scale = glb.gltf["nodes"][0]["scale"][0];
  const std::vector<float> positions = glb.values(glb.primitive()["attributes"]["POSITION"]);
  EXPECT_NEAR(positions[7] * scale, 2, 1e-6);
  const nlohmann::json target = glb.primitive()["targets"][0]["POSITION"];
  EXPECT_EQ(glb.gltf["bufferViews"][glb.gltf["accessors"][target.get<size_t>()]["bufferView"].get<size_t>()]
                    ["byteStride"],
            8);
  const std::vector<int16_t> shorts = glb.values<int16_t>(target);
  ASSERT_EQ(shorts.size(), 16u);
  EXPECT_NEAR(static_cast<float>(shorts[4 * 2 + 1]) / 32767 * scale, 0.623, scale / 65534);
}

TEST(MeshWriters, WhatNeverMovesHasNoAnimation) {
  test::TemporaryFolder folder;
  AnimatedMesh mesh = moving(1);
  write_animated_glb(folder / "one.glb", mesh, checks(), {});
  EXPECT_FALSE(Glb(folder / "one.glb").gltf.contains("animations"));
  mesh = moving(2);
  mesh.positions[1] = mesh.positions[0];
  for (const MorphDeltas deltas : {MorphDeltas::floats, MorphDeltas::shorts}) {
    write_animated_glb(folder / "still.glb", mesh, checks(), {.deltas = deltas});
    EXPECT_FALSE(Glb(folder / "still.glb").gltf.contains("animations"));
  }
}

TEST(MeshWriters, AnObjWithItsMaterialAndPicture) {
  test::TemporaryFolder folder;
  write_mesh_obj(folder / "a.obj", square(), checks(), {});
  EXPECT_EQ(test::read_text(folder / "a.obj"),
            "mtllib a.mtl\no Object\n"
            "v 0 0 -0\nv 1 0 -0\nv 1 2 -0\nv 0 2 -0.5\n"
            "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 0.75\n"
            "vn 0 0 1\nvn 0 0 1\nvn 0 0 1\nvn 0 0 1\n"
            "usemtl surface\nf 1/1/1 2/2/2 3/3/3\nf 1/1/1 3/3/3 4/4/4\n");
  EXPECT_EQ(test::read_text(folder / "a.mtl"),
            "newmtl surface\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nd 1\nillum 0\nmap_Kd a.png\n");
  EXPECT_EQ(read_picture(folder / "a.png").data, checks().data);
  TriangleMesh plain = square();
  plain.normals.clear();
  write_mesh_obj(folder / "b.obj", plain, {}, {.y_up = false});
  EXPECT_TRUE(
      test::contains(test::read_text(folder / "b.obj"), "v 0 0.5 2\nusemtl surface\nf 1 2 3\nf 1 3 4\n"));
  EXPECT_FALSE(std::filesystem::exists(folder / "b.png"));
}

TEST(MeshWriters, ASequenceOfObjs) {
  test::TemporaryFolder folder;
  const auto files = write_obj_sequence(folder / "s", moving(), checks(), {});
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files[2].filename(), "frame_0002.obj");
  EXPECT_TRUE(test::contains(test::read_text(files[2]), "mtllib texture.mtl\n"));
  EXPECT_TRUE(test::contains(test::read_text(files[2]), "v 1 3 -0\n"));
  EXPECT_TRUE(test::contains(test::read_text(folder / "s/texture.mtl"), "map_Kd texture.png\n"));
  EXPECT_EQ(read_picture(folder / "s/texture.png").width, 4);
}

TEST(MeshWriters, APlyWithColours) {
  test::TemporaryFolder folder;
  const std::vector<std::array<uint8_t, 3>> colors{{1, 2, 3}, {4, 5, 6}, {7, 8, 9}, {250, 251, 252}};
  write_mesh_ply(folder / "a.ply", square(), colors, {});
  const std::string file = test::read_text(folder / "a.ply");
  const std::string header =
      "ply\nformat binary_little_endian 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty "
      "float z\n"
      "property float nx\nproperty float ny\nproperty float nz\nproperty uchar red\nproperty uchar green\n"
      "property uchar blue\nelement face 2\nproperty list uchar int vertex_indices\nend_header\n";
  ASSERT_EQ(file.substr(0, header.size()), header);
  ASSERT_EQ(file.size(), header.size() + 4 * 27 + 2 * 13);
  float z = 0;
  std::memcpy(&z, &file[header.size() + 3 * 27 + 8], 4);
  EXPECT_EQ(z, -0.5f);
  EXPECT_EQ(static_cast<uint8_t>(file[header.size() + 3 * 27 + 26]), 252);
  EXPECT_EQ(file[header.size() + 4 * 27], 3);
  EXPECT_EQ(file[header.size() + 4 * 27 + 13 + 9], 3);
  EXPECT_ERROR(write_mesh_ply(folder / "b.ply", square(), {{1, 2, 3}}, {}), "4 positions, but 1 colours");
}

TEST(MeshWriters, TheTextOfUsd) {
  test::TemporaryFolder folder;
  write_mesh_usd(folder / "a.usda", moving(), checks(), {.fps = 12});
  const std::string text = test::read_text(folder / "a.usda");
  for (const char* part :
       {"startTimeCode = 0\n    endTimeCode = 2\n    timeCodesPerSecond = 12\n", "upAxis = \"Y\"",
        "int[] faceVertexCounts = [3, 3]\n", "int[] faceVertexIndices = [0, 1, 2, 0, 2, 3]\n",
        "texCoord2f[] primvars:st = [(0, 0), (1, 0), (1, 1), (0, 0.75)] (",
        "1: [(0, 0, -0), (1, 0.5, -0), (1, 2.5, -0), (0, 2, -0.5)],\n", "normal3f[] normals = [(0, 0, 1), ",
        "extent.timeSamples", "@./a.png@", "\"sRGB\"", "emissiveColor.connect"})
    EXPECT_TRUE(test::contains(text, part)) << part << "\n" << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '{'), std::count(text.begin(), text.end(), '}'));
  EXPECT_EQ(read_picture(folder / "a.png").width, 4);
  write_mesh_usd(folder / "b.usda", moving(1), {}, {.y_up = false});
  EXPECT_FALSE(test::contains(test::read_text(folder / "b.usda"), "timeSamples"));
  EXPECT_TRUE(test::contains(test::read_text(folder / "b.usda"), "upAxis = \"Z\""));
}

TEST(MeshWriters, MistakesGetSentencesAndNoFile) {
  test::TemporaryFolder folder;
  TriangleMesh mesh = square();
  mesh.positions[2].x = INFINITY;
  EXPECT_ERROR(write_mesh_glb(folder / "a.glb", mesh, checks(), {}),
               "a.glb': the mesh's positions are not finite (number 2)");
  EXPECT_ERROR(write_mesh_glb(folder / "a.glb", TriangleMesh(), checks(), {}), "the mesh is empty");
  EXPECT_ERROR(write_mesh_ply(folder / "a.ply", square(), {}, {.scale = 1e39}), "not finite");
  mesh = square();
  mesh.uvs.clear();
  EXPECT_ERROR(write_mesh_obj(folder / "a.obj", mesh, checks(), {}), "no place for it");
  EXPECT_ERROR(write_mesh_usd(folder / "a@b.usda", moving(), checks(), {}), "a plain name");
  AnimatedMesh odd = moving();
  odd.times[1] = 0;
  EXPECT_ERROR(write_animated_glb(folder / "a.glb", odd, checks(), {}), "do not ascend");
  odd = moving();
  odd.positions[1].pop_back();
  EXPECT_ERROR(write_obj_sequence(folder / "s", odd, checks(), {}), "4 positions, but 3 positions of a time");
  odd = moving();
  odd.positions[2][1].y = NAN;
  EXPECT_ERROR(write_mesh_usd(folder / "a.usda", odd, checks(), {}), "not finite");
  EXPECT_EQ(folder.file_count(), 0u);
}

}  // namespace
}  // namespace eg4d::mesh
