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

// Notes in a stage's folder which dataset it is trained on, so that an unfinished run knows it too:
// dataset.json, {"dataset", "dataset_bytes"}. Throws Error.
void record_dataset(const std::filesystem::path& stage, const std::filesystem::path& dataset);

}  // namespace eg4d
