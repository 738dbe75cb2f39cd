#include "pipeline/recorded_path.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "io/atomic_file.h"

namespace eg4d {
namespace {

std::string hexadecimal(const std::string& bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

// Empty when it is no hexadecimal text.
std::string from_hexadecimal(const std::string& text) {
  std::string bytes;
  for (size_t i = 0; i + 2 <= text.size(); i += 2) {
    unsigned char byte = 0;
    if (std::from_chars(&text[i], &text[i] + 2, byte, 16).ptr != &text[i] + 2) return {};
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

}  // namespace

RecordedPath recorded(const std::filesystem::path& path) {
  using nlohmann::json;
  const std::string text = json(path.string()).dump(-1, ' ', false, json::error_handler_t::replace);
  RecordedPath result{json::parse(text).get<std::string>()};
  if (result.text != path.string()) result.bytes = hexadecimal(path.string());
  return result;
}

void record_dataset(const std::filesystem::path& stage, const std::filesystem::path& dataset) {
  const RecordedPath place = recorded(std::filesystem::absolute(dataset).lexically_normal());
  nlohmann::json record = {{"dataset", place.text}};
  if (!place.bytes.empty()) record["dataset_bytes"] = place.bytes;
  write_file_atomically(stage / "dataset.json", record.dump(2) + "\n", Durable::no);
}

std::filesystem::path path_of(const RecordedPath& recorded) {
  const std::string bytes = from_hexadecimal(recorded.bytes);
  return bytes.empty() ? recorded.text : bytes;
}

}  // namespace eg4d
