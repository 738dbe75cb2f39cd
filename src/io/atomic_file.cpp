#include "io/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace eg4d {
namespace {

void sync_directory(const std::filesystem::path& directory) {
  const int fd = open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const fs::path target = fs::is_symlink(path_, ignored) ? fs::canonical(path_, ignored) : path_;
  if (!target.empty()) path_ = target;
  const fs::file_status status = fs::status(path_, ignored);
  if (fs::is_directory(status))
    throw Error(fmt::format("cannot write '{}': it is a directory", path_.string()));
  temporary_ = path_;
  if (!fs::exists(status) || fs::is_regular_file(status)) {
    static std::atomic<unsigned> number{0};  // two threads may write the same path
    temporary_ += fmt::format(".tmp{}-{}", getpid(), number++);
  }
  file_ = std::fopen(temporary_.c_str(), "wb");
  if (!file_) throw Error(fmt::format("cannot write '{}': {}", path_.string(), std::strerror(errno)));
}

AtomicFile::~AtomicFile() {
  if (!file_) return;
  std::fclose(file_);
  remove_temporary();
}

void AtomicFile::remove_temporary() {
  std::error_code ignored;
  if (temporary_ != path_) std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::write(const void* data, size_t bytes) {
  if (bytes && std::fwrite(data, 1, bytes, file_) != bytes)
    throw Error(fmt::format("cannot write '{}': {}", path_.string(), std::strerror(errno)));
}

void AtomicFile::commit() {
  const bool direct = temporary_ == path_;
  // A pipe or a terminal cannot be synced; that is no failure.
  bool done = std::fflush(file_) == 0 && (direct || fsync(fileno(file_)) == 0);
  int reason = errno;
  if (std::fclose(std::exchange(file_, nullptr)) != 0 && done) {
    done = false;
    reason = errno;
  }
  if (done && !direct && std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    done = false;
    reason = errno;
  }
  if (!done) {
    remove_temporary();
    throw Error(fmt::format("cannot write '{}': {}", path_.string(), std::strerror(reason)));
  }
  if (!direct) sync_directory(path_.parent_path());
}

void write_file_atomically(const std::filesystem::path& path, std::string_view contents) {
  AtomicFile file(path);
  file.write(contents);
  file.commit();
}

}  // namespace eg4d
