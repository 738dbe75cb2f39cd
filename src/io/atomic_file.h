#pragma once

#include <cstdio>
#include <filesystem>
#include <string_view>

namespace eg4d {

// Whether a file must survive a power cut from the moment on that it is complete. Without, it is cheap: the
// system writes it when it likes, and after a power cut it may be the old one or empty.
enum class Durable { yes, no };

// A file that appears under its name only when commit() returns: written to a temporary file beside it,
// fsynced and renamed. Without commit (an exception, a crash) the old file stays as it was. Symbolic links
// are followed. A path that is no regular file (/dev/stdout, a FIFO) is written directly. Throws Error on a
// full disk, a missing folder, or a path that is a directory.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path, Durable durable = Durable::yes);
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
  const Durable durable_;
  std::FILE* file_ = nullptr;
};

void write_file_atomically(const std::filesystem::path& path, std::string_view contents,
                           Durable durable = Durable::yes);

// Removes the temporary files that killed processes left in the folder and those below it. Those of processes
// that are alive stay.
void remove_abandoned_temporaries(const std::filesystem::path& folder);

// Makes the names in a folder durable, after a file there was renamed. Failure is no error: not every file
// system can.
void sync_folder(const std::filesystem::path& folder);

}  // namespace eg4d
