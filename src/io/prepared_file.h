#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>

namespace eg4d {

// What is to be in a file, all of it on the host: what it was made from may change before it is written, and
// another thread may write it.
struct PreparedFile {
  size_t bytes = 0;                                         // that it holds
  std::function<void(const std::filesystem::path&)> write;  // atomically; throws Error
};

}  // namespace eg4d
