#include "app/checks.h"

#include <fmt/format.h>
#include <unistd.h>

#include "core/error.h"

namespace eg4d {
namespace fs = std::filesystem;

void require_existing(const fs::path& path, const std::string& what) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    throw Error(fmt::format("there is no '{}'; give {}", path.string(), what));
  }
}

void require_a_name(const fs::path& output) {
  std::error_code error;
  const fs::file_status status = fs::status(output, error);
  const bool device = fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status);
  if (output == "-" || device)
    throw UsageError(fmt::format(
        "'{}' is no file and no folder: eg4d writes no results to a pipe or terminal; give a name",
        output.string()));
}

void require_writable_folder(const fs::path& folder) {
  require_a_name(folder);
  std::error_code error;
  if (fs::exists(folder, error) && !fs::is_directory(folder, error)) {
    throw Error(fmt::format("'{}' is a file; the output must be a folder", folder.string()));
  }
  fs::path nearest = fs::absolute(folder);
  while (!fs::exists(nearest, error) && nearest.has_relative_path()) nearest = nearest.parent_path();
  if (!fs::is_directory(nearest, error)) {
    throw Error(
        fmt::format("cannot make the folder '{}': '{}' is a file", folder.string(), nearest.string()));
  }
  if (access(nearest.c_str(), W_OK | X_OK) != 0) {
    throw Error(fmt::format("cannot write into '{}'; choose another output folder", nearest.string()));
  }
}

void require_output(const fs::path& folder) {
  if (folder.empty()) throw UsageError("where should the results go? Add -o RUN, a folder that will be made");
  require_writable_folder(folder);
}

void require_writable_file(const fs::path& file) {
  std::error_code error;
  if (fs::is_directory(file, error)) {
    throw Error(fmt::format("'{}' is a folder; give the name of a file", file.string()));
  }
  const fs::path folder = fs::absolute(file).parent_path();
  if (!fs::is_directory(folder, error)) {
    throw Error(fmt::format("there is no folder '{}' to write '{}' into; make it first", folder.string(),
                            file.filename().string()));
  }
  if (access(folder.c_str(), W_OK | X_OK) != 0) {
    throw Error(fmt::format("cannot write into '{}'; choose another place for '{}'", folder.string(),
                            file.filename().string()));
  }
}

}  // namespace eg4d
