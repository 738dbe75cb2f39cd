#include "io/folder.h"

#include <fmt/format.h>

#include "core/error.h"

namespace eg4d {

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error && std::filesystem::is_directory(folder)) return;
  throw Error(fmt::format("cannot make the folder {}: {}", folder.string(),
                          error ? error.message() : "a file of that name is in the way"));
}

}  // namespace eg4d
