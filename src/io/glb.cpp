#include "io/glb.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/version.h"
#include "io/atomic_file.h"

namespace eg4d::gltf {
namespace {

// GLB, 4.4.
constexpr uint32_t kMagic = 0x46546c67, kJsonChunk = 0x4e4f534a, kBinaryChunk = 0x004e4942;

std::string little_endian(std::initializer_list<uint32_t> words) {
  std::string bytes;
  for (const uint32_t word : words)
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(word >> shift & 255));
  return bytes;
}

}  // namespace

size_t add_view(nlohmann::ordered_json& gltf, std::string& buffer, std::string_view bytes) {
  nlohmann::ordered_json& views = gltf["bufferViews"];
  views.push_back({{"buffer", 0}, {"byteOffset", buffer.size()}, {"byteLength", bytes.size()}});
  buffer += bytes;
  buffer.resize((buffer.size() + 3) / 4 * 4, '\0');
  return views.size() - 1;
}

size_t add_accessor(nlohmann::ordered_json& gltf, std::string& buffer, std::string_view bytes,
                    const Values& values) {
  const size_t number = add_view(gltf, buffer, bytes);
  nlohmann::ordered_json& view = gltf["bufferViews"][number];
  if (values.stride > 0) view["byteStride"] = values.stride;
  if (values.target > 0) view["target"] = values.target;
  nlohmann::ordered_json& accessors = gltf["accessors"];
  accessors.push_back({{"bufferView", number},
                       {"componentType", values.component},
                       {"count", values.count},
                       {"type", values.type}});
  return accessors.size() - 1;
}

size_t add_accessor(nlohmann::ordered_json& gltf, std::string& buffer, std::span<const float> numbers,
                    const Values& values) {
  return add_accessor(gltf, buffer, {reinterpret_cast<const char*>(numbers.data()), numbers.size_bytes()},
                      values);
}

size_t add_bounded(nlohmann::ordered_json& gltf, std::string& buffer, std::span<const float> numbers,
                   size_t width, const Values& values) {
  std::vector<float> low(width, INFINITY), high(width, -INFINITY);
  for (size_t i = 0; i < numbers.size(); ++i) {
    low[i % width] = std::min(low[i % width], numbers[i]);
    high[i % width] = std::max(high[i % width], numbers[i]);
  }
  const size_t number = add_accessor(gltf, buffer, numbers, values);
  gltf["accessors"][number]["min"] = low;
  gltf["accessors"][number]["max"] = high;
  return number;
}

void require_glb_size(const std::filesystem::path& path, uint64_t bytes) {
  if (bytes > kMostBytes)
    throw Error(fmt::format("cannot write '{}': a GLB has at most 4 GiB, and this would have {:.1f}",
                            path.string(), static_cast<double>(bytes) / (1u << 30)));
}

void write_glb(const std::filesystem::path& path, nlohmann::ordered_json gltf, std::string_view buffer) {
  gltf["asset"] = {{"version", "2.0"}, {"generator", fmt::format("eg4d {}", kVersion)}};
  gltf["buffers"] = nlohmann::ordered_json::array({{{"byteLength", buffer.size()}}});
  std::string text = gltf.dump();
  text.resize((text.size() + 3) / 4 * 4, ' ');
  const uint64_t total = 12 + 8 + text.size() + 8 + buffer.size();
  require_glb_size(path, total);
  AtomicFile file(path);
  file.write(little_endian(
      {kMagic, 2, static_cast<uint32_t>(total), static_cast<uint32_t>(text.size()), kJsonChunk}));
  file.write(text);
  file.write(little_endian({static_cast<uint32_t>(buffer.size()), kBinaryChunk}));
  file.write(buffer);
  file.commit();
}

}  // namespace eg4d::gltf
