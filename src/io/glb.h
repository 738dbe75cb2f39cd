#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// glTF 2.0 in one file: a JSON text and one buffer.
namespace eg4d::gltf {

// glTF 2.0, 3.6.2.2, 3.9.5, 5.1.3, 5.11.5, 5.24.5, 5.26.
inline constexpr int kByte = 5120, kUnsignedByte = 5121, kShort = 5122, kUnsignedInt = 5125, kFloat = 5126;
inline constexpr int kVertices = 34962, kIndices = 34963;  // what a view is for
inline constexpr int kPoints = 0, kTriangles = 4;
inline constexpr uint64_t kMostBytes = 0xffffffff;  // of a GLB

struct Values {
  size_t count = 0;           // elements
  const char* type = "VEC3";  // SCALAR, VEC2, …
  int component = kFloat;
  int target = kVertices;  // 0: neither vertices nor indices
  int stride = 0;          // bytes from one element to the next; 0: they are dense
};

// Appends bytes to the buffer, with zeros to a multiple of four, and an object to gltf["bufferViews"].
// Returns its number.
size_t add_view(nlohmann::ordered_json& gltf, std::string& buffer, std::string_view bytes);
// The same with an accessor: returns the number of the object in gltf["accessors"].
size_t add_accessor(nlohmann::ordered_json& gltf, std::string& buffer, std::string_view bytes,
                    const Values& values);
size_t add_accessor(nlohmann::ordered_json& gltf, std::string& buffer, std::span<const float> numbers,
                    const Values& values);
// An accessor of floats with "min" and "max", as POSITION and times must have; `width` of them an element.
size_t add_bounded(nlohmann::ordered_json& gltf, std::string& buffer, std::span<const float> numbers,
                   size_t width, const Values& values);

// Adds "asset" and "buffers", and writes. Atomic. Throws Error, one sentence naming the file, when it would
// be larger than a GLB may be.
void write_glb(const std::filesystem::path& path, nlohmann::ordered_json gltf, std::string_view buffer);
// That Error, for who knows the bytes beforehand.
void require_glb_size(const std::filesystem::path& path, uint64_t bytes);

}  // namespace eg4d::gltf
