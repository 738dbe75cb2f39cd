#include "io/folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

#include "core/error.h"

namespace eg4d {

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error && std::filesystem::is_directory(folder)) return;
  throw Error(fmt::format("cannot make the folder {}: {}", folder.string(),
                          error ? error.message() : "a file of that name is in the way"));
}

bool lies_in(const std::filesystem::path& path, const std::filesystem::path& folder) {
  std::error_code error, missing;
  const std::filesystem::path inside = std::filesystem::canonical(folder, missing);
  const std::filesystem::path place = std::filesystem::canonical(path, error);
  return !missing && !error &&
         std::mismatch(inside.begin(), inside.end(), place.begin(), place.end()).first == inside.end();
}

bool has_extension(const std::filesystem::path& path, std::string_view extension) {
  std::string own = path.extension().string();
  std::transform(own.begin(), own.end(), own.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return own == extension;
}

int remove_frames_from(const std::filesystem::path& folder, std::string_view extension, int count,
                       std::string_view start, size_t least_digits) {
  namespace fs = std::filesystem;
  std::vector<fs::path> stale;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string(), digits = entry.path().stem().string();
    if (entry.path().extension() != extension || !name.starts_with(start)) continue;
    int number = 0;
    const char* first = digits.data() + start.size();
    const char* last = digits.data() + digits.size();
    const auto [end, fault] = std::from_chars(first, last, number);
    const bool ours =
        fault == std::errc() && end == last && static_cast<size_t>(last - first) >= least_digits;
    if (ours && number >= count) stale.push_back(entry.path());
  }
  for (const fs::path& path : stale)
    if (!fs::remove(path, error))
      throw Error(fmt::format("cannot remove '{}', a frame of an earlier, longer sequence: {}", path.string(),
                              error.message()));
  return static_cast<int>(stale.size());
}

void empty_folder(const std::filesystem::path& folder, const std::filesystem::path& kept) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<fs::path> inside;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (entry.path() != kept) inside.push_back(entry.path());
  for (const fs::path& path : inside) {
    fs::remove_all(path, error);
    if (error)
      throw Error(fmt::format("cannot remove '{}': {}; remove it by hand or choose another folder",
                              path.string(), error.message()));
  }
  if (error) throw Error(fmt::format("cannot list '{}': {}", folder.string(), error.message()));
}

}  // namespace eg4d
