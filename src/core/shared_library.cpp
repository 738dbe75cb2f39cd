#include "core/shared_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "core/error.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> library_folders() {
  if (const char* named = std::getenv("EG4D_LIBRARY_DIR"); named && *named) return {named};
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  std::vector<fs::path> folders;
  if (!error) folders = {program, program.parent_path(), program.parent_path() / "lib" / "eg4d"};
  folders.emplace_back(EG4D_INSTALLED_LIBRARIES);
  return folders;
}

}  // namespace

std::optional<fs::path> find_library(const std::string& library) {
  std::error_code error;
  for (const fs::path& folder : library_folders())
    if (const fs::path path = folder / ("lib" + library + ".so"); fs::exists(path, error)) return path;
  return std::nullopt;
}

void* load_function(const std::string& library, const char* function, const std::string& purpose) {
  if (const std::optional<fs::path> path = find_library(library)) {
    void* handle = dlopen(path->c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) throw Error(fmt::format("{}, and the system does not load it: {}", purpose, dlerror()));
    if (void* address = dlsym(handle, function)) return address;
    throw Error(fmt::format("{}, but '{}' is of another version of eg4d", purpose, path->string()));
  }
  std::string looked;
  for (const fs::path& folder : library_folders())
    looked += (looked.empty() ? "'" : ", '") + folder.string() + "'";
  throw Error(fmt::format("{}, and it is in none of {}; install it, or name its folder by EG4D_LIBRARY_DIR",
                          purpose, looked));
}

}  // namespace eg4d
