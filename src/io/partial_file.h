#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>

#include "io/file_lock.h"
#include "io/sha256.h"

namespace eg4d {

// What the server said of the file that is being downloaded.
struct RemoteFile {
  std::string url, identity;  // identity: its entity tag
  std::optional<int64_t> size;
  std::optional<std::string> sha256;
};

// <destination>.part, which grows over any number of calls, with <destination>.part.json beside it that tells
// what it is a part of. Its hash is kept up to date. Where the server told no SHA-256 that the whole could be
// checked with, a later call goes on from what is known to have reached the disk: after a power cut a file's
// end may be zeros. Throws Error on a full disk, a missing folder, or when another process downloads the same
// file.
class PartialFile {
 public:
  explicit PartialFile(std::filesystem::path destination);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  int64_t size() const { return size_; }
  std::string sha256() const { return hash_.hex(); }
  const std::optional<RemoteFile>& remote() const { return remote_; }

  void describe(const RemoteFile& remote);  // remembered on disk
  void append(const void* data, size_t bytes);
  void restart();  // empty again
  void discard();  // removed
  void commit();   // renamed to the destination

 private:
  void open(const char* mode);
  void write_description() const;
  void sync();  // throws Error
  std::filesystem::path destination_, part_, description_;
  std::optional<FileLock> lock_;
  std::FILE* file_ = nullptr;
  int64_t size_ = 0;
  int64_t synced_ = 0;  // bytes that are on the disk for certain
  Sha256 hash_;
  std::optional<RemoteFile> remote_;
};

}  // namespace eg4d
