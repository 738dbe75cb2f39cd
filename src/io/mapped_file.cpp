#include "io/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace eg4d {

MappedFile::MappedFile(const std::filesystem::path& path) {
  // O_NONBLOCK: a FIFO without a writer must not hang the program; it makes no difference for regular files.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw UnreadableFile(fmt::format("cannot open '{}': {}", path.string(), std::strerror(errno)));
  struct stat status {};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    const bool directory = S_ISDIR(status.st_mode);
    close(fd);
    throw UnreadableFile(fmt::format("cannot read '{}': it is {}", path.string(),
                                     directory ? "a directory" : "not a regular file"));
  }
  size_ = static_cast<size_t>(status.st_size);
  if (size_ == 0) {
    close(fd);
    return;
  }
  void* mapped = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
  const int error = errno;
  close(fd);
  if (mapped == MAP_FAILED)
    throw UnreadableFile(fmt::format("cannot map '{}': {}", path.string(), std::strerror(error)));
  mapping_ = std::shared_ptr<const std::byte>(
      static_cast<const std::byte*>(mapped),
      [size = size_](const std::byte* p) { munmap(const_cast<std::byte*>(p), size); });
}

}  // namespace eg4d
