#include "formats/gltf_splats.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/version.h"
#include "formats/splat_numbers.h"
#include "io/atomic_file.h"
#include "io/ply_writer.h"

namespace eg4d::splat {
namespace {

using json = nlohmann::ordered_json;

// glTF 2.0, 3.6.2.2, 5.1.3, 5.11.5, 5.24.5.
constexpr int kFloat = 5126, kUnsignedByte = 5121, kArrayBuffer = 34962, kPoints = 0;
// GLB, 4.4.
constexpr uint32_t kMagic = 0x46546c67, kJsonChunk = 0x4e4f534a, kBinaryChunk = 0x004e4942;
constexpr uint64_t kMostBytes = 0xffffffff;

class GltfBuilder {
 public:
  explicit GltfBuilder(size_t count) : count_(count) {}

  // `values` of `type` ("VEC3"), all Gaussians' one after the other. Returns the accessor.
  json& add(const std::string& attribute, const char* type, int component, std::string_view values) {
    json& accessor = accessors_.emplace_back(
        json{{"bufferView", views_.size()}, {"componentType", component}, {"count", count_}, {"type", type}});
    views_.push_back({{"buffer", 0},
                      {"byteOffset", binary_.size()},
                      {"byteLength", values.size()},
                      {"target", kArrayBuffer}});
    attributes_[attribute] = accessors_.size() - 1;
    binary_ += values;  // all of them are multiples of four bytes
    return accessor;
  }
  json& add(const std::string& attribute, const char* type, const std::vector<float>& values) {
    return add(attribute, type, kFloat,
               {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  }

  void write(const std::filesystem::path& path) const {
    const json primitive = {
        {"attributes", attributes_},
        {"mode", kPoints},
        {"extensions",
         {{"KHR_gaussian_splatting", {{"kernel", "ellipse"}, {"colorSpace", "srgb_rec709_display"}}}}}};
    const json gltf = {{"asset", {{"version", "2.0"}, {"generator", fmt::format("eg4d {}", kVersion)}}},
                       {"extensionsUsed", json::array({"KHR_gaussian_splatting"})},
                       {"scene", 0},
                       {"scenes", json::array({{{"nodes", json::array({0})}}})},
                       {"nodes", json::array({{{"mesh", 0}}})},
                       {"meshes", json::array({{{"primitives", json::array({primitive})}}})},
                       {"buffers", json::array({{{"byteLength", binary_.size()}}})},
                       {"bufferViews", views_},
                       {"accessors", accessors_}};
    std::string text = gltf.dump();
    text.resize((text.size() + 3) / 4 * 4, ' ');
    const uint64_t total = 12 + 8 + text.size() + 8 + binary_.size();
    if (total > kMostBytes)
      throw Error(fmt::format("cannot write '{}': a GLB has at most 4 GiB, and this would have {:.1f}",
                              path.string(), static_cast<double>(total) / (1u << 30)));
    std::string header;
    put(header, kMagic);
    put(header, uint32_t{2});
    put(header, static_cast<uint32_t>(total));
    put(header, static_cast<uint32_t>(text.size()));
    put(header, kJsonChunk);
    std::string chunk;
    put(chunk, static_cast<uint32_t>(binary_.size()));
    put(chunk, kBinaryChunk);
    AtomicFile file(path);
    file.write(header);
    file.write(text);
    file.write(chunk);
    file.write(binary_);
    file.commit();
  }

 private:
  const size_t count_;
  json accessors_ = json::array(), views_ = json::array(), attributes_ = json::object();
  std::string binary_;
};

}  // namespace

void write_gltf_splats(const std::filesystem::path& path, const GaussianCloud& cloud) {
  check_shapes(cloud, path);
  const auto count = static_cast<size_t>(cloud.count());
  if (count == 0)
    throw Error(fmt::format("cannot write '{}': a GLB cannot hold no Gaussians", path.string()));
  GltfBuilder gltf(count);

  std::vector<float> low(3, INFINITY), high(3, -INFINITY);
  for (size_t i = 0; i < count * 3; ++i) {
    low[i % 3] = std::min(low[i % 3], cloud.positions[i]);
    high[i % 3] = std::max(high[i % 3], cloud.positions[i]);
  }
  json& positions = gltf.add("POSITION", "VEC3", cloud.positions);
  positions["min"] = low;
  positions["max"] = high;

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
  const std::string prefix = "KHR_gaussian_splatting:";
  gltf.add("COLOR_0", "VEC4", kUnsignedByte, colours)["normalized"] = true;
  gltf.add(prefix + "ROTATION", "VEC4", rotations);
  gltf.add(prefix + "SCALE", "VEC3", scales);
  gltf.add(prefix + "OPACITY", "SCALAR", opacities);
  gltf.add(prefix + "SH_DEGREE_0_COEF_0", "VEC3", cloud.sh_dc);
  std::vector<float> coefficient(count * 3);
  size_t number = 0;
  for (int degree = 1; degree <= sh_degree_of(cloud); ++degree)
    for (int n = 0; n < 2 * degree + 1; ++n, ++number) {
      for (size_t i = 0; i < count; ++i)
        std::copy_n(&cloud.sh_rest[kRest * i + 3 * number], 3, &coefficient[3 * i]);
      gltf.add(fmt::format("{}SH_DEGREE_{}_COEF_{}", prefix, degree, n), "VEC3", coefficient);
    }
  gltf.write(path);
}

}  // namespace eg4d::splat
