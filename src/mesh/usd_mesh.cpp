// `.usda` of a textured mesh: UsdGeomMesh with UsdPreviewSurface (OpenUSD 21 or newer).

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "io/atomic_file.h"
#include "io/usd_text.h"
#include "mesh/mesh_check.h"
#include "mesh/mesh_writers.h"
#include "mesh/written_mesh.h"

namespace eg4d::mesh {
namespace {

std::vector<float> floats_of(const std::vector<Vec3f>& values) {
  std::vector<float> floats;
  floats.reserve(3 * values.size());
  for (const Vec3f v : values) floats.insert(floats.end(), {v.x, v.y, v.z});
  return floats;
}

std::vector<float> extent_of(const std::vector<Vec3f>& positions) {
  std::vector<float> corners{INFINITY, INFINITY, INFINITY, -INFINITY, -INFINITY, -INFINITY};
  for (const Vec3f& p : positions)
    for (size_t k = 0; k < 3; ++k) {
      corners[k] = std::min(corners[k], p.data()[k]);
      corners[3 + k] = std::max(corners[3 + k], p.data()[k]);
    }
  return corners;
}

void write_triangles(AtomicFile& file, const TriangleMesh& mesh) {
  fmt::memory_buffer text;
  const auto add = [&](const char* name, size_t count, auto&& number) {
    fmt::format_to(std::back_inserter(text), "    int[] {} = [", name);
    for (size_t i = 0; i < count; ++i)
      fmt::format_to(std::back_inserter(text), "{}{}", i == 0 ? "" : ", ", number(i));
    fmt::format_to(std::back_inserter(text), "]\n");
  };
  add("faceVertexCounts", mesh.triangles.size(), [](size_t) { return 3; });
  add("faceVertexIndices", 3 * mesh.triangles.size(), [&](size_t i) { return mesh.triangles[i / 3][i % 3]; });
  file.write(text.data(), text.size());
}

// v grows upwards in USD.
void write_uvs(AtomicFile& file, const TriangleMesh& mesh) {
  std::vector<float> st;
  for (const Vec2f uv : mesh.uvs) st.insert(st.end(), {uv.x, 1 - uv.y});
  file.write(fmt::format("    texCoord2f[] primvars:st = {} (\n        interpolation = \"vertex\"\n    )\n",
                         usd::array_text(st, 2)));
}

// The texture shines by itself and nothing is reflected: the lighting is in the colours.
std::string material_text(const std::string& texture) {
  if (texture.empty())
    return R"(
    def Material "Material"
    {
        token outputs:surface.connect = </Object/Material/Preview.outputs:surface>

        def Shader "Preview"
        {
            uniform token info:id = "UsdPreviewSurface"
            color3f inputs:diffuseColor = (0.5, 0.5, 0.5)
            float inputs:roughness = 1
            token outputs:surface
        }
    }
)";
  return fmt::format(R"(
    def Material "Material"
    {{
        token outputs:surface.connect = </Object/Material/Preview.outputs:surface>

        def Shader "Preview"
        {{
            uniform token info:id = "UsdPreviewSurface"
            color3f inputs:diffuseColor = (0, 0, 0)
            color3f inputs:emissiveColor.connect = </Object/Material/Texture.outputs:rgb>
            int inputs:useSpecularWorkflow = 1
            color3f inputs:specularColor = (0, 0, 0)
            float inputs:roughness = 1
            token outputs:surface
        }}

        def Shader "Texture"
        {{
            uniform token info:id = "UsdUVTexture"
            asset inputs:file = @./{}@
            token inputs:sourceColorSpace = "sRGB"
            float2 inputs:st.connect = </Object/Material/Coordinates.outputs:result>
            token inputs:wrapS = "clamp"
            token inputs:wrapT = "clamp"
            float3 outputs:rgb
        }}

        def Shader "Coordinates"
        {{
            uniform token info:id = "UsdPrimvarReader_float2"
            string inputs:varname = "st"
            float2 outputs:result
        }}
    }}
)",
                     texture);
}

}  // namespace

void write_mesh_usd(const std::filesystem::path& path, const AnimatedMesh& mesh, const Picture& texture,
                    const MeshWriting& writing) {
  check_sound(mesh, fmt::format("cannot write '{}'", path.string()));
  require_plain_name(path);
  const TriangleMesh surface = as_written(path, mesh.reference, texture, writing);
  std::string texture_name;
  if (texture.width > 0) {
    const std::filesystem::path beside = std::filesystem::path(path).replace_extension(".png");
    write_png(beside, texture);
    texture_name = beside.filename().string();
  }
  // Whole numbers where times are even.
  std::vector<double> codes;
  for (const float time : mesh.times)
    codes.push_back(std::round(double{time} * static_cast<double>(mesh.times.size() - 1) * 1e4) / 1e4);
  const auto positions = [&](size_t i) { return positions_as_written(mesh.positions[i], writing); };

  AtomicFile file(path);
  file.write(usd::header_text(codes.front(), codes.back(), writing.fps, writing.y_up ? 'Y' : 'Z'));
  file.write(
      "def Xform \"Object\" (\n    kind = \"component\"\n)\n{\n"
      "    def Mesh \"Mesh\" (\n        prepend apiSchemas = [\"MaterialBindingAPI\"]\n    )\n    {\n"
      "    uniform token subdivisionScheme = \"none\"\n    uniform bool doubleSided = 1\n"
      "    rel material:binding = </Object/Material>\n");
  write_triangles(file, surface);
  if (!surface.uvs.empty()) write_uvs(file, surface);
  usd::write_attribute(file, "    float3[] extent", 3, codes,
                       [&](size_t i) { return extent_of(positions(i)); });
  usd::write_attribute(file, "    point3f[] points", 3, codes,
                       [&](size_t i) { return floats_of(positions(i)); });
  if (!mesh.normals.empty())
    usd::write_attribute(file, "    normal3f[] normals", 3, codes,
                         [&](size_t i) { return floats_of(normals_as_written(mesh.normals[i], writing)); });
  file.write("    }\n");
  file.write(material_text(texture_name));
  file.write("}\n");
  file.commit();
}

}  // namespace eg4d::mesh
