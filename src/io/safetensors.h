#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/host_array.h"
#include "core/shape.h"
#include "io/mapped_file.h"
#include "io/prepared_file.h"

namespace eg4d {

// A safetensors file, memory-mapped: an 8-byte little-endian header length, a JSON header, then the tensors'
// bytes. Opening checks everything (bounds, overlaps, sizes against shapes) and throws Error with the file's
// name.
class SafetensorsFile {
 public:
  struct Entry {
    DType dtype = DType::f32;
    Shape shape;
    const std::byte* data =
        nullptr;  // into the mapping, at any alignment; valid while the file object or a copy lives
    size_t bytes = 0;
  };

  explicit SafetensorsFile(const std::filesystem::path& path);
  SafetensorsFile(Bytes file, const std::string& name);  // the bytes must outlive the object

  const std::filesystem::path& path() const { return path_; }
  const std::map<std::string, Entry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool contains(const std::string& name) const { return entries_.count(name) != 0; }
  const Entry& at(const std::string& name) const;  // throws Error naming the file and the tensor

  // Whether the file is still what write_safetensors made of it with Checksum::yes; true where it has no
  // checksum. Reads all of the file.
  bool is_intact() const;

  // The tensor as floats, converted from f16, bf16 or f64 when stored so.
  std::vector<float> floats(const std::string& name) const;

 private:
  void parse(Bytes file);

  std::filesystem::path path_;
  std::optional<MappedFile> mapping_;
  Bytes bytes_;        // of the whole file
  Bytes header_ = {};  // its JSON
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

// What write_safetensors takes: host memory that it does not copy.
struct SafetensorsTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  const void* data = nullptr;
};

// yes: a CRC-32C of the whole file, its eight digits taken as zeros, goes into the metadata as "crc32c".
enum class Checksum { no, yes };

// Writes atomically (temporary file, fsync, rename). Tensors are stored in the given order. Throws Error when
// a name occurs twice or writing fails.
void write_safetensors(const std::filesystem::path& path, const std::vector<SafetensorsTensor>& tensors,
                       std::map<std::string, std::string> metadata = {}, Checksum checksum = Checksum::no);

// The same for values that are the file's own.
struct HostTensor {
  std::string name;
  Shape shape;
  HostArray<float> values;
};
PreparedFile prepare_safetensors(std::vector<HostTensor> tensors,
                                 std::map<std::string, std::string> metadata = {},
                                 Checksum checksum = Checksum::no);

}  // namespace eg4d
