#include "io/folder.h"

#include <fmt/format.h>

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
