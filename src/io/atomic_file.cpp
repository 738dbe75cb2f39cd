#include "io/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace eg4d {
namespace {

constexpr const char* kTemporary = ".tmp";  // then the process, a hyphen and a number

// The process that made the temporary file of that name; nothing for other names.
std::optional<pid_t> process_of_temporary(const std::string& name) {
  const size_t start = name.rfind(kTemporary);
  if (start == std::string::npos) return {};
  const char* const end = name.data() + name.size();
  pid_t process = 0;
  const auto first = std::from_chars(name.data() + start + std::strlen(kTemporary), end, process);
  if (first.ec != std::errc() || process <= 0 || first.ptr == end || *first.ptr != '-') return {};
  unsigned number = 0;
  const auto second = std::from_chars(first.ptr + 1, end, number);
  if (second.ec != std::errc() || second.ptr != end) return {};
  return process;
}

}  // namespace

void sync_folder(const std::filesystem::path& folder) {
  const int fd = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

AtomicFile::AtomicFile(std::filesystem::path path, Durable durable)
    : path_(std::move(path)), durable_(durable) {
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
    temporary_ += fmt::format("{}{}-{}", kTemporary, getpid(), number++);
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
  const bool sync = !direct && durable_ == Durable::yes;
  bool done = std::fflush(file_) == 0 && (!sync || fsync(fileno(file_)) == 0);
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
  if (sync) sync_folder(path_.parent_path());
}

void remove_abandoned_temporaries(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  std::vector<fs::path> abandoned;
  const auto options = fs::directory_options::skip_permission_denied;
  for (fs::recursive_directory_iterator entry(folder, options, ignored), end; entry != end;
       entry.increment(ignored)) {
    if (!entry->is_regular_file(ignored) || entry->is_symlink(ignored)) continue;
    const auto process = process_of_temporary(entry->path().filename().string());
    if (process && kill(*process, 0) != 0 && errno == ESRCH) abandoned.push_back(entry->path());
  }
  for (const fs::path& file : abandoned) fs::remove(file, ignored);
}

void write_file_atomically(const std::filesystem::path& path, std::string_view contents, Durable durable) {
  AtomicFile file(path, durable);
  file.write(contents);
  file.commit();
}

}  // namespace eg4d
