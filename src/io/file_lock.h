#pragma once

#include <filesystem>
#include <string>

namespace eg4d {

// While it lives, no other process has a lock on the same file, which holds this process' number and is
// removed at the end. What a killed process left is no obstacle. On file systems without locks, and where the
// file cannot be made, work goes on unprotected.
class FileLock {
 public:
  // `what` opens the sentence of the Error that is thrown when another process has the lock: "'run/coarse'".
  // The file's folder must exist.
  FileLock(std::filesystem::path file, const std::string& what);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  // The lock file of a folder that one process at a time works in.
  static std::filesystem::path of_folder(const std::filesystem::path& folder) { return folder / ".lock"; }

 private:
  std::filesystem::path path_;
  int file_ = -1;
};

}  // namespace eg4d
