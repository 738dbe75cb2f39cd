#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "io/atomic_file.h"

namespace eg4d {

// A zip archive of uncompressed records whose contents begin at multiples of 64 bytes, as PyTorch's own
// writer lays them out: the local header is filled up with an extra field "FB" (PKWARE's
// APPNOTE.TXT 4.3.7, 4.5.1). No times, no attributes: the same records give the same bytes. At most 4 GiB and
// 65535 records; throws Error.
class ZipWriter {
 public:
  explicit ZipWriter(const std::filesystem::path& path) : path_(path), file_(path) {}
  void add(const std::string& name, const void* data, uint64_t bytes);
  void add(const std::string& name, std::string_view text) { add(name, text.data(), text.size()); }
  void commit();

 private:
  std::filesystem::path path_;
  AtomicFile file_;
  uint64_t position_ = 0;
  unsigned records_ = 0;
  std::string directory_;
};

}  // namespace eg4d
