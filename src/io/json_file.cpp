#include "io/json_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/mapped_file.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

// Before the parser sees it. For text that is no JSON the answer may be wrong; the parser then refuses it.
bool nests_too_deep(std::string_view text) {
  int depth = 0;
  bool inside_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (inside_string) {
      if (c == '\\') ++i;
      if (c == '"') inside_string = false;
    } else if (c == '"') {
      inside_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace

template <class Json>
Json parse_json(std::string_view text, const std::string& what) {
  if (nests_too_deep(text))
    throw Error(
        fmt::format("{} nests lists and objects more than {} deep: it is damaged, or not what it is "
                    "taken for",
                    what, kMaxJsonDepth));
  Json value = Json::parse(text, nullptr, false);
  if (value.is_discarded())
    throw Error(what + " is not valid JSON: it is damaged, or not what it is taken for");
  return value;
}

template <class Json>
Json read_json(const fs::path& path) {
  const MappedFile file(path);
  const Bytes bytes = file.bytes();
  if (bytes.size() > kMaxJsonBytes)
    throw Error(fmt::format("'{}' is larger than {} MiB, too large for a JSON file", path.string(),
                            kMaxJsonBytes >> 20));
  return parse_json<Json>({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                          fmt::format("'{}'", path.string()));
}

template <class Json>
Json read_json_if_there(const fs::path& path) {
  std::error_code error;
  if (fs::status(path, error).type() == fs::file_type::not_found) return nullptr;
  return read_json<Json>(path);
}

template nlohmann::json parse_json(std::string_view, const std::string&);
template nlohmann::ordered_json parse_json(std::string_view, const std::string&);
template nlohmann::json read_json(const fs::path&);
template nlohmann::ordered_json read_json(const fs::path&);
template nlohmann::json read_json_if_there(const fs::path&);
template nlohmann::ordered_json read_json_if_there(const fs::path&);

}  // namespace eg4d
