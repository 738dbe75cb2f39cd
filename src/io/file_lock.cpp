#include "io/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <utility>

#include "core/error.h"

namespace eg4d {
namespace {

// False when the file was removed, or replaced by another of its name, since it was opened.
bool is_still_there(int file, const std::filesystem::path& path) {
  struct stat opened {
  }, named{};
  return fstat(file, &opened) == 0 && stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
         opened.st_dev == named.st_dev;
}

Error in_use(const std::filesystem::path& path, const std::string& what) {
  int process = 0;
  std::ifstream(path) >> process;
  return Error(fmt::format("{} is in use by another process{}; wait until it has ended", what,
                           process > 0 ? fmt::format(" (pid {})", process) : ""));
}

}  // namespace

FileLock::FileLock(std::filesystem::path file, const std::string& what) : path_(std::move(file)) {
  for (;;) {
    file_ = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file_ < 0) return;
    if (flock(file_, LOCK_EX | LOCK_NB) != 0) {
      const int reason = errno;
      close(std::exchange(file_, -1));
      if (reason == EINTR) continue;
      if (reason == EWOULDBLOCK) throw in_use(path_, what);
      return;
    }
    // The process that had the lock may have removed its file between our two calls.
    if (is_still_there(file_, path_)) break;
    close(std::exchange(file_, -1));
  }
  const std::string process = fmt::format("{}\n", getpid());
  // The number is for people; the lock holds without it.
  if (ftruncate(file_, 0) != 0) return;
  [[maybe_unused]] const ssize_t written = pwrite(file_, process.data(), process.size(), 0);
}

FileLock::~FileLock() {
  if (file_ < 0) return;
  unlink(path_.c_str());
  close(file_);
}

}  // namespace eg4d
