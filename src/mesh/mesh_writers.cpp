#include "mesh/mesh_writers.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/folder.h"
#include "mesh/mesh_check.h"
#include "mesh/written_mesh.h"

namespace eg4d::mesh {
namespace {

constexpr size_t kTextBytes = size_t{1} << 20;  // of a text that is written at once

// A text file in pieces.
class Text {
 public:
  explicit Text(const std::filesystem::path& path) : file_(path) {}
  template <class... Arguments>
  void add(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Arguments>(arguments)...);
    if (text_.size() > kTextBytes) flush();
  }
  void commit() {
    flush();
    file_.commit();
  }

 private:
  void flush() {
    file_.write(text_.data(), text_.size());
    text_.clear();
  }
  AtomicFile file_;
  fmt::memory_buffer text_;
};

// illum 0: the colour as it is, without lights.
void write_material(const std::filesystem::path& path, const std::string& texture) {
  std::string text = "newmtl surface\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nd 1\nillum 0\n";
  if (texture.empty())
    text = "newmtl surface\nKa 0 0 0\nKd 0.7 0.7 0.7\nKs 0 0 0\nd 1\nillum 2\n";
  else
    text += "map_Kd " + texture + "\n";
  write_file_atomically(path, text);
}

void write_obj(const std::filesystem::path& path, const TriangleMesh& mesh, const std::string& material) {
  Text text(path);
  text.add("mtllib {}\no Object\n", material);
  for (const Vec3f p : mesh.positions) text.add("v {} {} {}\n", p.x, p.y, p.z);
  for (const Vec2f uv : mesh.uvs) text.add("vt {} {}\n", uv.x, 1 - uv.y);
  for (const Vec3f n : mesh.normals) text.add("vn {} {} {}\n", n.x, n.y, n.z);
  text.add("usemtl surface\n");
  const bool uvs = !mesh.uvs.empty(), normals = !mesh.normals.empty();
  for (const auto& triangle : mesh.triangles) {
    text.add("f");
    for (const uint32_t corner : triangle) {
      const uint32_t number = corner + 1;
      if (uvs && normals)
        text.add(" {0}/{0}/{0}", number);
      else if (uvs)
        text.add(" {0}/{0}", number);
      else if (normals)
        text.add(" {0}//{0}", number);
      else
        text.add(" {}", number);
    }
    text.add("\n");
  }
  text.commit();
}

}  // namespace

void write_mesh_obj(const std::filesystem::path& path, const TriangleMesh& mesh, const Picture& texture,
                    const MeshWriting& writing) {
  const TriangleMesh written = as_written(path, mesh, texture, writing);
  const auto beside = [&](const char* extension) {
    return std::filesystem::path(path).replace_extension(extension);
  };
  require_plain_name(path);
  if (texture.width > 0) write_png(beside(".png"), texture);
  write_material(beside(".mtl"), texture.width > 0 ? beside(".png").filename().string() : "");
  write_obj(path, written, beside(".mtl").filename().string());
}

std::vector<std::filesystem::path> write_obj_sequence(const std::filesystem::path& folder,
                                                      const AnimatedMesh& mesh, const Picture& texture,
                                                      const MeshWriting& writing) {
  check_sound(mesh, fmt::format("cannot write '{}'", folder.string()));
  make_folder(folder);
  if (texture.width > 0) write_png(folder / "texture.png", texture);
  write_material(folder / "texture.mtl", texture.width > 0 ? "texture.png" : "");
  std::vector<std::filesystem::path> files;
  for (size_t i = 0; i < mesh.times.size(); ++i) {
    files.push_back(folder / fmt::format("frame_{:04}.obj", i));
    write_obj(files.back(), as_written(files.back(), moment_of(mesh, i), texture, writing), "texture.mtl");
  }
  return files;
}

void write_mesh_ply(const std::filesystem::path& path, const TriangleMesh& mesh,
                    const std::vector<std::array<uint8_t, 3>>& colors, const MeshWriting& writing) {
  const TriangleMesh written = as_written(path, mesh, {}, writing);
  if (!colors.empty() && colors.size() != mesh.positions.size())
    throw Error(fmt::format("cannot write '{}': the mesh has {} positions, but {} colours", path.string(),
                            mesh.positions.size(), colors.size()));
  std::string header = fmt::format(
      "ply\nformat binary_little_endian 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty "
      "float "
      "z\n",
      mesh.positions.size());
  if (!mesh.normals.empty()) header += "property float nx\nproperty float ny\nproperty float nz\n";
  if (!colors.empty()) header += "property uchar red\nproperty uchar green\nproperty uchar blue\n";
  header += fmt::format("element face {}\nproperty list uchar int vertex_indices\nend_header\n",
                        mesh.triangles.size());
  AtomicFile file(path);
  file.write(header);
  std::string bytes;
  const auto put = [&bytes](const auto& value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  for (size_t i = 0; i < written.positions.size(); ++i) {
    put(written.positions[i]);
    if (!written.normals.empty()) put(written.normals[i]);
    if (!colors.empty()) put(colors[i]);
  }
  for (const auto& triangle : written.triangles) {
    put(uint8_t{3});
    put(triangle);
  }
  file.write(bytes);
  file.commit();
}

}  // namespace eg4d::mesh
