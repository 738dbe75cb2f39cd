#include "formats/gltf_splats.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "formats/splat_numbers.h"
#include "io/glb.h"
#include "io/ply_writer.h"

namespace eg4d::splat {

void write_gltf_splats(const std::filesystem::path& path, const GaussianCloud& cloud) {
  using json = nlohmann::ordered_json;
  check_shapes(cloud, path);
  const auto count = static_cast<size_t>(cloud.count());
  if (count == 0)
    throw Error(fmt::format("cannot write '{}': a GLB cannot hold no Gaussians", path.string()));

  std::string colours;
  std::vector<float> rotations, scales(count * 3), opacities(count);
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = 0; k < 3; ++k) put(colours, to_byte((0.5f + kSh0 * cloud.sh_dc[3 * i + k]) * 255));
    opacities[i] = sigmoid(cloud.opacity_logits[i]);
    put(colours, to_byte(opacities[i] * 255));
    const auto q = unit_quaternion(&cloud.quaternions[4 * i]);
    rotations.insert(rotations.end(), {q[1], q[2], q[3], q[0]});
    for (size_t k = 0; k < 3; ++k) scales[3 * i + k] = std::exp(cloud.log_scales[3 * i + k]);
  }
  json gltf, attributes;
  std::string buffer;
  const auto add = [&](const std::string& attribute, const char* type, const std::vector<float>& values) {
    attributes[attribute] = gltf::add_accessor(gltf, buffer, values, {count, type});
  };
  const std::string prefix = "KHR_gaussian_splatting:";
  attributes["POSITION"] = gltf::add_bounded(gltf, buffer, cloud.positions, 3, {count, "VEC3"});
  attributes["COLOR_0"] = gltf::add_accessor(gltf, buffer, colours, {count, "VEC4", gltf::kUnsignedByte});
  gltf["accessors"].back()["normalized"] = true;
  add(prefix + "ROTATION", "VEC4", rotations);
  add(prefix + "SCALE", "VEC3", scales);
  add(prefix + "OPACITY", "SCALAR", opacities);
  add(prefix + "SH_DEGREE_0_COEF_0", "VEC3", cloud.sh_dc);
  std::vector<float> coefficient(count * 3);
  size_t number = 0;
  for (int degree = 1; degree <= sh_degree_of(cloud); ++degree)
    for (int n = 0; n < 2 * degree + 1; ++n, ++number) {
      for (size_t i = 0; i < count; ++i)
        std::copy_n(&cloud.sh_rest[kRest * i + 3 * number], 3, &coefficient[3 * i]);
      add(fmt::format("{}SH_DEGREE_{}_COEF_{}", prefix, degree, n), "VEC3", coefficient);
    }
  gltf["extensionsUsed"] = {"KHR_gaussian_splatting"};
  gltf["meshes"] = json::array(
      {{{"primitives",
         json::array({{{"attributes", attributes},
                       {"mode", gltf::kPoints},
                       {"extensions",
                        {{"KHR_gaussian_splatting",
                          {{"kernel", "ellipse"}, {"colorSpace", "srgb_rec709_display"}}}}}}})}}});
  gltf["nodes"] = json::array({{{"mesh", 0}}});
  gltf["scenes"] = json::array({{{"nodes", json::array({0})}}});
  gltf["scene"] = 0;
  gltf::write_glb(path, std::move(gltf), buffer);
}

}  // namespace eg4d::splat
