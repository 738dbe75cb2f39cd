#pragma once

#include <filesystem>
#include <string>

namespace eg4d {

// A path for a JSON file, which is UTF-8, while file names may be any bytes.
struct RecordedPath {
  std::string text;        // for people: bytes that are no UTF-8 are replaced
  std::string bytes = {};  // the path in hexadecimal where `text` is not all of it; otherwise empty
};

RecordedPath recorded(const std::filesystem::path& path);
std::filesystem::path path_of(const RecordedPath& recorded);

}  // namespace eg4d
