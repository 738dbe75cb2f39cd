#include "io/zip_reader.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>

#include "core/error.h"

namespace eg4d {
namespace {

constexpr uint64_t kMaxDeflate = 1032;  // deflate shrinks no further

struct Close {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

}  // namespace

ZipReader::ZipReader(Bytes file, std::string name) : name_(std::move(name)), file_size_(file.size()) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(file.data(), file.size(), 0, &error);
  archive_ = source ? zip_open_from_source(source, ZIP_RDONLY, &error) : nullptr;
  const std::string reason = zip_error_strerror(&error);
  zip_error_fini(&error);
  if (!archive_) {
    if (source) zip_source_free(source);
    fail(fmt::format("its zip archive is damaged or truncated ({})", reason));
  }
}

ZipReader::~ZipReader() {
  zip_discard(archive_);
}

void ZipReader::fail(const std::string& what) const {
  throw Error(fmt::format("cannot read '{}': {}", name_, what));
}

std::vector<std::string> ZipReader::records() const {
  std::vector<std::string> names;
  const zip_int64_t entries = zip_get_num_entries(archive_, 0);
  for (zip_int64_t i = 0; i < entries; ++i)
    if (const char* entry = zip_get_name(archive_, static_cast<zip_uint64_t>(i), 0))
      names.emplace_back(entry);
  return names;
}

bool ZipReader::has(const std::string& record) const {
  return zip_name_locate(archive_, (folder_ + record).c_str(), 0) >= 0;
}

ZipReader::Record ZipReader::read(const std::string& record, uint64_t most,
                                  std::optional<uint64_t> expected) const {
  zip_stat_t status;
  const std::string path = folder_ + record;
  if (path.find('\0') != path.npos || zip_stat(archive_, path.c_str(), 0, &status) != 0)
    fail(fmt::format("its record '{}' is missing", record));
  constexpr zip_uint64_t kNeeded = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
  if ((status.valid & kNeeded) != kNeeded || status.comp_size > file_size_ ||
      (status.comp_method != ZIP_CM_STORE && status.comp_method != ZIP_CM_DEFLATE) ||
      status.size > status.comp_size * (status.comp_method == ZIP_CM_STORE ? 1 : kMaxDeflate))
    fail(fmt::format("its record '{}' is damaged", record));
  if (expected && status.size != *expected)
    fail(fmt::format("its record '{}' has {} bytes instead of {}", record, status.size, *expected));
  if (status.size > most)
    fail(fmt::format("its record '{}' of {} bytes is larger than allowed", record, status.size));

  const size_t size = static_cast<size_t>(status.size);
  std::shared_ptr<std::byte[]> memory(new std::byte[size]);
  const std::unique_ptr<zip_file_t, Close> file(zip_fopen_index(archive_, status.index, 0));
  size_t done = 0;
  while (file && done < size) {
    const zip_int64_t count =
        zip_fread(file.get(), memory.get() + done, std::min(size - done, size_t{1} << 30));
    if (count <= 0) break;
    done += static_cast<size_t>(count);
  }
  std::byte beyond;
  if (!file || done != size || zip_fread(file.get(), &beyond, 1) != 0)  // the last read checks the CRC
    fail(fmt::format("its record '{}' is damaged or truncated", record));
  return {std::shared_ptr<const std::byte>(memory, memory.get()), size};
}

}  // namespace eg4d
