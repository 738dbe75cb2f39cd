#include "support/manifest.h"
#include "support/places.h"

#include <zlib.h>

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace eg4d::test {

Manifest read_manifest(const std::string& name) {
  const std::string path = test_data() / "manifests" / (name + ".json.gz");
  const gzFile file = gzopen(path.c_str(), "rb");
  if (!file) throw std::runtime_error("cannot open " + path);
  std::string text;
  char buffer[1 << 16];
  for (int count = 0; (count = gzread(file, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(count));
  gzclose(file);
  Manifest manifest;
  const nlohmann::json json = nlohmann::json::parse(text);
  for (const auto& [key, value] : json.at("keys").items()) manifest[key] = value.at(0).get<Shape>();
  return manifest;
}

void write_sparse_safetensors(const std::filesystem::path& path, const Manifest& manifest,
                              const char* dtype) {
  const uint64_t element = std::string(dtype).ends_with("32") ? 4 : 2;
  nlohmann::json header = nlohmann::json::object();
  uint64_t offset = 0;
  for (const auto& [name, shape] : manifest) {
    const uint64_t bytes = static_cast<uint64_t>(element_count(shape)) * element;
    header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  const std::string text = header.dump();
  const uint64_t length = text.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), 8);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.close();
  std::filesystem::resize_file(path, 8 + length + offset);
}

}  // namespace eg4d::test
