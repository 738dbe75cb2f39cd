#include "io/zip_writer.h"

#include <fmt/format.h>
#include <zlib.h>

#include "core/error.h"

namespace eg4d {
namespace {

constexpr uint64_t kAlignment = 64;
constexpr uint16_t kVersion = 20;     // PKZIP 2.0
constexpr uint16_t kNoDate = 0x0021;  // 1 January 1980

void put16(std::string& to, uint64_t value) {
  to.push_back(static_cast<char>(value));
  to.push_back(static_cast<char>(value >> 8));
}

void put32(std::string& to, uint64_t value) {
  put16(to, value);
  put16(to, value >> 16);
}

// The fields that the local header and the central directory share.
void put_common(std::string& to, uint32_t crc, uint64_t bytes, size_t name, size_t extra) {
  put16(to, kVersion);
  put16(to, 0);  // flags
  put16(to, 0);  // stored
  put16(to, 0);  // time
  put16(to, kNoDate);
  put32(to, crc);
  put32(to, bytes);
  put32(to, bytes);
  put16(to, name);
  put16(to, extra);
}

}  // namespace

void ZipWriter::add(const std::string& name, const void* data, uint64_t bytes) {
  constexpr uint64_t kLocalHeader = 30, kExtraHeader = 4;
  const uint64_t unaligned = position_ + kLocalHeader + name.size() + kExtraHeader;
  const uint64_t padding = (kAlignment - unaligned % kAlignment) % kAlignment;
  const uint64_t end = unaligned + padding + bytes;
  if (end + directory_.size() > 0xf0000000u || ++records_ > 0xffff)
    throw Error(fmt::format("cannot write '{}': it would exceed 4 GiB or 65535 tensors", path_.string()));
  const uint32_t crc =
      static_cast<uint32_t>(crc32_z(crc32_z(0, nullptr, 0), static_cast<const Bytef*>(data), bytes));

  std::string header = "PK\x03\x04";
  put_common(header, crc, bytes, name.size(), kExtraHeader + padding);
  header += name + "FB";
  put16(header, padding);
  header.append(padding, 'Z');

  directory_ += "PK\x01\x02";
  put16(directory_, kVersion);  // made by
  put_common(directory_, crc, bytes, name.size(), 0);
  put16(directory_, 0);  // comment
  put16(directory_, 0);  // disk
  put16(directory_, 0);  // internal attributes
  put32(directory_, 0);  // external attributes
  put32(directory_, position_);
  directory_ += name;

  file_.write(header);
  file_.write(data, bytes);
  position_ = end;
}

void ZipWriter::commit() {
  std::string end = "PK\x05\x06";
  put16(end, 0);  // disks
  put16(end, 0);
  put16(end, records_);
  put16(end, records_);
  put32(end, directory_.size());
  put32(end, position_);
  put16(end, 0);  // comment
  file_.write(directory_);
  file_.write(end);
  file_.commit();
}

}  // namespace eg4d
