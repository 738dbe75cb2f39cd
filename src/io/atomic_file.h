#pragma once

#include <cstdio>
#include <filesystem>
#include <string_view>

namespace eg4d {

// A file that appears under its name only when commit() returns: written to a temporary file beside it,
// fsynced and renamed. Without commit (an exception, a crash) the old file stays as it was. Symbolic links
// are followed. A path that is no regular file (/dev/stdout, a FIFO) is written directly. Throws Error on a
// full disk, a missing folder, or a path that is a directory.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();
  // For libraries that write by file name: write to this path, then commit().
  const std::filesystem::path& temporary_path() const { return temporary_; }

 private:
  void remove_temporary();

  std::filesystem::path path_, temporary_;
  std::FILE* file_ = nullptr;
};

void write_file_atomically(const std::filesystem::path& path, std::string_view contents);

}  // namespace eg4d
