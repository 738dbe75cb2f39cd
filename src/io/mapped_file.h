#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

#include "core/error.h"

namespace eg4d {

// The contents of a file, or of any memory that stands for one (fuzzers, tests).
using Bytes = std::span<const std::byte>;

// A file could not be opened or read at all: nothing is known, and nothing said, of what it holds.
class UnreadableFile : public Error {
 public:
  using Error::Error;
};

// A regular file mapped read-only; only the pages that are touched are read. Copies share the mapping.
// Throws UnreadableFile when the file is missing, unreadable or a directory. An empty file has empty bytes.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  Bytes bytes() const { return {mapping_.get(), size_}; }

 private:
  std::shared_ptr<const std::byte> mapping_;
  size_t size_ = 0;
};

}  // namespace eg4d
