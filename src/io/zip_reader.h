#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/mapped_file.h"

struct zip;

namespace eg4d {

// The records of a zip archive in memory, stored or deflated. What a record claims of itself is checked
// before memory is taken. Throws Error naming the file.
class ZipReader {
 public:
  ZipReader(Bytes file, std::string name);  // the bytes must outlive it
  ~ZipReader();
  ZipReader(const ZipReader&) = delete;
  ZipReader& operator=(const ZipReader&) = delete;

  std::vector<std::string> records() const;  // all of them, with their folders
  // The folder, with its slash, in which the records of the calls below are.
  void enter(std::string folder) { folder_ = std::move(folder); }

  struct Record {
    std::shared_ptr<const std::byte> data;
    size_t size = 0;
    Bytes bytes() const { return {data.get(), size}; }
  };
  bool has(const std::string& record) const;
  // At most `most` bytes, or exactly `expected` where that is told.
  Record read(const std::string& record, uint64_t most, std::optional<uint64_t> expected = {}) const;

 private:
  [[noreturn]] void fail(const std::string& what) const;

  std::string name_, folder_;
  uint64_t file_size_ = 0;
  zip* archive_ = nullptr;
};

}  // namespace eg4d
