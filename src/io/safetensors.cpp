#include "io/safetensors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/half.h"
#include "io/atomic_file.h"

namespace eg4d {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeader = 100u << 20;  // the format's own limit

struct NamedType {
  const char* name;
  DType type;
};
constexpr NamedType kTypes[] = {{"F64", DType::f64},   {"F32", DType::f32},     {"F16", DType::f16},
                                {"BF16", DType::bf16}, {"I64", DType::i64},     {"I32", DType::i32},
                                {"U8", DType::u8},     {"BOOL", DType::boolean}};

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path) {
  auto fail = [&](const std::string& what) -> Error {
    return Error(fmt::format("'{}' is not a valid safetensors file: {}", path.string(), what));
  };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw Error(fmt::format("cannot open '{}': {}", path.string(), std::strerror(errno)));
  struct stat status {};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(fd);
    throw Error(fmt::format("cannot read '{}': it is not a regular file", path.string()));
  }
  const uint64_t size = static_cast<uint64_t>(status.st_size);
  if (size < 8) {
    close(fd);
    throw fail("it is shorter than 8 bytes");
  }
  void* mapped = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  if (mapped == MAP_FAILED)
    throw Error(fmt::format("cannot map '{}': {}", path.string(), std::strerror(errno)));
  mapping_ = std::shared_ptr<const std::byte>(
      static_cast<const std::byte*>(mapped),
      [size](const std::byte* p) { munmap(const_cast<std::byte*>(p), size); });

  uint64_t header_size = 0;
  static_assert(std::endian::native == std::endian::little);
  std::memcpy(&header_size, mapping_.get(), 8);
  if (header_size > kMaxHeader || header_size > size - 8)
    throw fail(fmt::format("its header claims {} bytes, the file has {}", header_size, size));
  const char* text = reinterpret_cast<const char*>(mapping_.get()) + 8;
  const json header = json::parse(text, text + header_size, nullptr, false);
  if (!header.is_object()) throw fail("its header is not a JSON object");
  const uint64_t data_size = size - 8 - header_size;
  const std::byte* data = mapping_.get() + 8 + header_size;

  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) throw fail("__metadata__ is not an object");
      for (const auto& [key, item] : value.items())
        metadata_[key] = item.is_string() ? item.get<std::string>() : item.dump();
      continue;
    }
    auto bad = [&, name = name](const char* what) { return fail(fmt::format("tensor '{}' {}", name, what)); };
    if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") ||
        !value.contains("data_offsets"))
      throw bad("lacks dtype, shape or data_offsets");
    const json &dtype = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
    Entry entry;
    const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const NamedType& t) {
      return dtype.is_string() && dtype.get_ref<const std::string&>() == t.name;
    });
    if (type == std::end(kTypes)) throw bad("has an unknown dtype");
    entry.dtype = type->type;
    if (!shape.is_array() || shape.size() > 16) throw bad("has a bad shape");
    uint64_t bytes = size_of(entry.dtype);
    for (const json& extent : shape) {
      if (!extent.is_number_unsigned() || extent.get<uint64_t>() > uint64_t{1} << 48)
        throw bad("has a bad shape");
      entry.shape.push_back(static_cast<int64_t>(extent.get<uint64_t>()));
      if (__builtin_mul_overflow(bytes, extent.get<uint64_t>(), &bytes)) throw bad("has a bad shape");
    }
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned())
      throw bad("has bad data_offsets");
    const uint64_t begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
    if (begin > end || end > data_size) throw bad("lies outside the file (is it truncated?)");
    if (end - begin != bytes) throw bad("has a size that does not fit its shape");
    entry.bytes = bytes;
    entry.data = data + begin;
    if (bytes) ranges.emplace_back(begin, end);
    entries_.emplace(name, std::move(entry));
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].first < ranges[i - 1].second) throw fail("tensors overlap");
}

const SafetensorsFile::Entry& SafetensorsFile::at(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) throw Error(fmt::format("'{}' has no tensor '{}'", path_.string(), name));
  return found->second;
}

std::vector<float> SafetensorsFile::floats(const std::string& name) const {
  const Entry& entry = at(name);
  const size_t count = static_cast<size_t>(element_count(entry.shape));
  std::vector<float> values(count);
  auto element = [&]<class T>(size_t i, T) {
    T value;
    std::memcpy(&value, entry.data + i * sizeof(T), sizeof(T));
    return value;
  };
  switch (entry.dtype) {
    case DType::f32:
      if (count) std::memcpy(values.data(), entry.data, entry.bytes);
      break;
    case DType::f64:
      for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(element(i, double{}));
      break;
    case DType::f16:
      for (size_t i = 0; i < count; ++i) values[i] = half_to_float(element(i, uint16_t{}));
      break;
    case DType::bf16:
      for (size_t i = 0; i < count; ++i) values[i] = bfloat16_to_float(element(i, uint16_t{}));
      break;
    default:
      throw Error(fmt::format("'{}': tensor '{}' holds {}, not floating point", path_.string(), name,
                              name_of(entry.dtype)));
  }
  return values;
}

void write_safetensors(const std::filesystem::path& path, const std::vector<SafetensorsTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    const uint64_t bytes = static_cast<uint64_t>(element_count(tensor.shape)) * size_of(tensor.dtype);
    const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                    [&](const NamedType& t) { return t.type == tensor.dtype; });
    header[tensor.name] = {
        {"dtype", type->name}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  AtomicFile file(path);
  const uint64_t length = text.size();
  file.write(&length, 8);
  file.write(text);
  for (const SafetensorsTensor& tensor : tensors)
    file.write(tensor.data, static_cast<size_t>(element_count(tensor.shape)) * size_of(tensor.dtype));
  file.commit();
}

}  // namespace eg4d
