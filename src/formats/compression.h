#pragma once

#include <string>
#include <string_view>

#include "io/mapped_file.h"

// Whole texts that are compressed in files. All throw Error; the readers' begins "cannot read 'name'".
namespace eg4d::splat {

// gzip (RFC 1952).
std::string gzip(std::string_view data);
// The beginning of what a gzip stream holds, at most `most` bytes of it; `ended` tells whether there was no
// more, and that its checksum is right.
std::string gunzip(Bytes data, size_t most, bool& ended, const std::string& name);

// One frame of Zstandard (RFC 8878). The size must be exactly what is told.
std::string zstd(std::string_view data, int level);
std::string unzstd(Bytes data, size_t size, const std::string& name);

}  // namespace eg4d::splat
