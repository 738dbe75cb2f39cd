// GLB of textured meshes: glTF 2.0 with KHR_materials_unlit, moving ones as morph targets.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "io/glb.h"
#include "mesh/mesh_check.h"
#include "mesh/mesh_writers.h"
#include "mesh/written_mesh.h"

namespace eg4d::mesh {
namespace {

using json = nlohmann::ordered_json;

constexpr int kLinear = 9729, kLinearMipmapLinear = 9987, kClampToEdge = 33071;

std::span<const float> floats_of(const std::vector<Vec3f>& values) {
  return {values.empty() ? nullptr : values[0].data(), values.size() * 3};
}

// A file that is being put together: one mesh in one node.
struct Building {
  json gltf, primitive, node = {{"name", "Object"}, {"mesh", 0}}, mesh = {{"name", "Object"}};
  json used = json::array(), required = json::array();
  std::string buffer;

  void add_surface(const TriangleMesh& surface) {
    const size_t count = surface.positions.size();
    json& attributes = primitive["attributes"];
    attributes["POSITION"] =
        gltf::add_bounded(gltf, buffer, floats_of(surface.positions), 3, {count, "VEC3"});
    if (!surface.normals.empty())
      attributes["NORMAL"] = gltf::add_accessor(gltf, buffer, floats_of(surface.normals), {count, "VEC3"});
    if (!surface.uvs.empty())
      attributes["TEXCOORD_0"] = gltf::add_accessor(
          gltf, buffer, std::span(&surface.uvs[0].x, 2 * surface.uvs.size()), {count, "VEC2"});
    const std::string_view indices(reinterpret_cast<const char*>(surface.triangles.data()),
                                   surface.triangles.size() * sizeof surface.triangles[0]);
    primitive["indices"] = gltf::add_accessor(
        gltf, buffer, indices, {3 * surface.triangles.size(), "SCALAR", gltf::kUnsignedInt, gltf::kIndices});
    primitive["mode"] = gltf::kTriangles;
  }

  // glTF's base colour textures are sRGB, as rendered pictures are.
  void add_material(const Picture& texture) {
    json metallic = {{"metallicFactor", 0}, {"roughnessFactor", 1}};
    json material = {{"name", "Surface"}, {"doubleSided", true}};
    if (texture.width > 0) {
      const std::vector<uint8_t> png = encode_png(texture);
      const size_t view =
          gltf::add_view(gltf, buffer, {reinterpret_cast<const char*>(png.data()), png.size()});
      gltf["images"] = json::array({{{"bufferView", view}, {"mimeType", "image/png"}, {"name", "Texture"}}});
      gltf["samplers"] = json::array({{{"magFilter", kLinear},
                                       {"minFilter", kLinearMipmapLinear},
                                       {"wrapS", kClampToEdge},
                                       {"wrapT", kClampToEdge}}});
      gltf["textures"] = json::array({{{"sampler", 0}, {"source", 0}}});
      metallic["baseColorTexture"] = {{"index", 0}};
      material["extensions"] = {{"KHR_materials_unlit", json::object()}};
      used.push_back("KHR_materials_unlit");
    } else {
      metallic["baseColorFactor"] = {0.5, 0.5, 0.5, 1};
    }
    material["pbrMetallicRoughness"] = metallic;
    gltf["materials"] = json::array({material});
    primitive["material"] = 0;
  }

  void write(const std::filesystem::path& path) {
    mesh["primitives"] = json::array({primitive});
    gltf["meshes"] = json::array({mesh});
    gltf["nodes"] = json::array({node});
    gltf["scenes"] = json::array({{{"nodes", json::array({0})}}});
    gltf["scene"] = 0;
    if (!used.empty()) gltf["extensionsUsed"] = used;
    if (!required.empty()) gltf["extensionsRequired"] = required;
    gltf::write_glb(path, std::move(gltf), buffer);
  }
};

std::vector<Vec3f> differences(const std::vector<Vec3f>& from, const std::vector<Vec3f>& to) {
  std::vector<Vec3f> result(to.size());
  for (size_t i = 0; i < to.size(); ++i) result[i] = to[i] - from[i];
  return result;
}

float largest_of(const std::vector<Vec3f>& values) {
  float most = 0;
  for (const float v : floats_of(values)) most = std::max(most, std::abs(v));
  return most;
}

// Shorts that mean -1 to 1, four for each vector, because what stands in a vertex begins at multiples of four
// bytes.
size_t add_shorts(Building& file, const std::vector<Vec3f>& values) {
  std::vector<int16_t> shorts;
  shorts.reserve(values.size() * 4);
  std::vector<int16_t> low(3, INT16_MAX), high(3, INT16_MIN);
  for (const Vec3f& v : values) {
    for (size_t k = 0; k < 3; ++k) {
      const auto number = static_cast<int16_t>(std::lround(std::clamp(v.data()[k], -1.f, 1.f) * 32767));
      low[k] = std::min(low[k], number);
      high[k] = std::max(high[k], number);
      shorts.push_back(number);
    }
    shorts.push_back(0);
  }
  const std::string_view bytes(reinterpret_cast<const char*>(shorts.data()), shorts.size() * sizeof(int16_t));
  const size_t number = gltf::add_accessor(file.gltf, file.buffer, bytes,
                                           {values.size(), "VEC3", gltf::kShort, gltf::kVertices, 8});
  json& accessor = file.gltf["accessors"][number];
  accessor["normalized"] = true;
  accessor["min"] = low;
  accessor["max"] = high;
  return number;
}

// Weights that are one for a target at its time and zero at the others'. targets[i]: that of time i, or -1
// for the reference itself.
void add_animation(Building& file, const std::vector<float>& times, const std::vector<int>& targets,
                   size_t count, double fps) {
  std::vector<float> seconds, weights(times.size() * count, 0.f);
  for (size_t i = 0; i < times.size(); ++i) {
    seconds.push_back(
        static_cast<float>((double{times[i]} - times[0]) * static_cast<double>(times.size() - 1) / fps));
    if (targets[i] >= 0) weights[i * count + static_cast<size_t>(targets[i])] = 1;
  }
  const size_t input =
      gltf::add_bounded(file.gltf, file.buffer, seconds, 1, {seconds.size(), "SCALAR", gltf::kFloat, 0});
  const size_t output =
      gltf::add_accessor(file.gltf, file.buffer, weights, {weights.size(), "SCALAR", gltf::kFloat, 0});
  file.gltf["animations"] = json::array(
      {{{"name", "Motion"},
        {"samplers", json::array({{{"input", input}, {"interpolation", "LINEAR"}, {"output", output}}})},
        {"channels", json::array({{{"sampler", 0}, {"target", {{"node", 0}, {"path", "weights"}}}}})}}});
}

void check_glb_size(const std::filesystem::path& path, const AnimatedMesh& mesh, const MeshWriting& writing) {
  const uint64_t each = (writing.deltas == MorphDeltas::shorts ? 8 : 12) + (writing.morph_normals ? 12 : 0);
  const uint64_t count = mesh.reference.positions.size(), times = mesh.times.size();
  gltf::require_glb_size(path, count * (32 + times * each) + 12 * uint64_t{mesh.reference.triangles.size()} +
                                   4 * times * (times + 1));
}

}  // namespace

void write_mesh_glb(const std::filesystem::path& path, const TriangleMesh& mesh, const Picture& texture,
                    const MeshWriting& writing) {
  MeshWriting upright = writing;
  upright.y_up = true;
  Building file;
  file.add_surface(as_written(path, mesh, texture, upright));
  file.add_material(texture);
  file.write(path);
}

void write_animated_glb(const std::filesystem::path& path, const AnimatedMesh& mesh, const Picture& texture,
                        const MeshWriting& writing) {
  check_sound(mesh, fmt::format("cannot write '{}'", path.string()));
  if (mesh.times.size() == 1) return write_mesh_glb(path, moment_of(mesh, 0), texture, writing);
  check_glb_size(path, mesh, writing);
  MeshWriting upright = writing;
  upright.y_up = true;
  TriangleMesh surface = as_written(path, mesh.reference, texture, upright);
  std::vector<std::vector<Vec3f>> motions, turns;
  std::vector<int> targets;
  float largest = 0;
  for (size_t i = 0; i < mesh.times.size(); ++i) {
    std::vector<Vec3f> motion =
        differences(surface.positions, positions_as_written(mesh.positions[i], upright));
    const float most = largest_of(motion);
    targets.push_back(most > 0 ? static_cast<int>(motions.size()) : -1);
    if (!(most > 0)) continue;
    largest = std::max(largest, most);
    motions.push_back(std::move(motion));
    if (writing.morph_normals && !mesh.normals.empty() && !surface.normals.empty())
      turns.push_back(differences(surface.normals, normals_as_written(mesh.normals[i], upright)));
  }
  Building file;
  const bool shorts = writing.deltas == MorphDeltas::shorts && !motions.empty();
  if (shorts) {
    // In units of the largest motion, which the node scales back.
    for (Vec3f& p : surface.positions) p = p * (1 / largest);
    file.node["scale"] = {largest, largest, largest};
    file.used.push_back("KHR_mesh_quantization");
    file.required.push_back("KHR_mesh_quantization");
  }
  file.add_surface(surface);
  const size_t count = surface.positions.size();
  json names = json::array();
  for (size_t i = 0; i < motions.size(); ++i) {
    json target;
    if (shorts) {
      for (Vec3f& v : motions[i]) v = v * (1 / largest);
      target["POSITION"] = add_shorts(file, motions[i]);
    } else {
      target["POSITION"] =
          gltf::add_bounded(file.gltf, file.buffer, floats_of(motions[i]), 3, {count, "VEC3"});
    }
    motions[i] = {};
    if (!turns.empty())
      target["NORMAL"] = gltf::add_accessor(file.gltf, file.buffer, floats_of(turns[i]), {count, "VEC3"});
    file.primitive["targets"].push_back(target);
  }
  for (size_t i = 0; i < targets.size(); ++i)
    if (targets[i] >= 0) names.push_back(fmt::format("time_{:04}", i));
  if (!motions.empty()) {
    file.mesh["weights"] = std::vector<float>(motions.size(), 0.f);
    file.mesh["extras"] = {{"targetNames", names}};
    add_animation(file, mesh.times, targets, motions.size(), writing.fps);
  }
  file.add_material(texture);
  file.write(path);
}

}  // namespace eg4d::mesh
