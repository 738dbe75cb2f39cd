#include "io/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "core/element_conversion.h"
#include "core/error.h"
#include "io/atomic_file.h"
#include "io/crc32c.h"
#include "io/safetensors_header.h"

namespace eg4d {
namespace {

constexpr uint64_t kMaxHeader = 100u << 20;  // the format's own limit

// As the checksum stands in a header that we wrote. In a text of the header its quotes would be escaped.
constexpr std::string_view kChecksumKey = "crc32c", kChecksumStart = R"("crc32c":")",
                           kNoChecksum = "00000000";

std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Where in the header the digits of the checksum are; npos when it has none.
size_t find_checksum(std::string_view header) {
  const size_t start = header.find(kChecksumStart);
  if (start == std::string_view::npos) return start;
  const size_t digits = start + kChecksumStart.size();
  return digits + kNoChecksum.size() < header.size() && header[digits + kNoChecksum.size()] == '"'
             ? digits
             : std::string_view::npos;
}

struct NamedType {
  const char* name;
  DType type;
};
constexpr NamedType kTypes[] = {{"F64", DType::f64},   {"F32", DType::f32},     {"F16", DType::f16},
                                {"BF16", DType::bf16}, {"I64", DType::i64},     {"I32", DType::i32},
                                {"U8", DType::u8},     {"BOOL", DType::boolean}};

const NamedType* find_type(DType type) {
  return std::find_if(std::begin(kTypes), std::end(kTypes),
                      [&](const NamedType& t) { return t.type == type; });
}

void check_overlaps(const SafetensorsHeader& header) {
  std::vector<const SafetensorsHeader::Tensor*> order;
  for (const auto& tensor : header.tensors)
    if (tensor.begin < tensor.end) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->begin < b->begin; });
  for (size_t i = 1; i < order.size(); ++i)
    if (order[i]->begin < order[i - 1]->end)
      throw Error(fmt::format("tensors '{}' and '{}' overlap", order[i - 1]->name, order[i]->name));
}

SafetensorsFile::Entry entry_of(const SafetensorsHeader::Tensor& tensor, Bytes data) {
  auto bad = [&](const std::string& what) { return Error(fmt::format("tensor '{}' {}", tensor.name, what)); };
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                  [&](const NamedType& t) { return tensor.dtype == t.name; });
  if (type == std::end(kTypes)) throw bad(fmt::format("has the unknown dtype '{}'", tensor.dtype));
  SafetensorsFile::Entry entry;
  entry.dtype = type->type;
  uint64_t bytes = size_of(entry.dtype);
  for (const uint64_t extent : tensor.shape) {
    if (extent > uint64_t{1} << 48 || __builtin_mul_overflow(bytes, extent, &bytes))
      throw bad("has a bad shape");
    entry.shape.push_back(static_cast<int64_t>(extent));
  }
  if (tensor.begin > tensor.end || tensor.end > data.size())
    throw bad("lies outside the file (is it truncated?)");
  if (tensor.end - tensor.begin != bytes)
    throw bad(fmt::format("has {} bytes, which do not fit its shape {} of {}", tensor.end - tensor.begin,
                          to_string(entry.shape), tensor.dtype));
  entry.bytes = bytes;
  entry.data = data.data() + tensor.begin;
  return entry;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : path_(path), mapping_(MappedFile(path)) {
  parse(mapping_->bytes());
}

SafetensorsFile::SafetensorsFile(Bytes file, const std::string& name) : path_(name) {
  parse(file);
}

void SafetensorsFile::parse(Bytes file) {
  bytes_ = file;
  uint64_t header_size = 0;
  static_assert(std::endian::native == std::endian::little);
  if (file.size() >= 8) std::memcpy(&header_size, file.data(), 8);
  const bool fits = header_size <= kMaxHeader && header_size + 8 <= file.size();
  if (!fits && file.size() > 8 && file[8] != std::byte{'{'})
    throw Error(fmt::format("'{}' is no safetensors file; a model's weights were expected", path_.string()));
  try {
    if (file.size() < 8) throw Error("it is shorter than 8 bytes");
    if (!fits)
      throw Error(fmt::format("its header claims {} bytes, the file has {}", header_size, file.size()));
    header_ = file.subspan(8, static_cast<size_t>(header_size));
    SafetensorsHeader header = parse_safetensors_header(text_of(header_));
    const Bytes data = file.subspan(8 + header_size);
    check_overlaps(header);
    for (SafetensorsHeader::Tensor& tensor : header.tensors) {
      Entry entry = entry_of(tensor, data);
      entries_.emplace(std::move(tensor.name), std::move(entry));
    }
    metadata_ = std::move(header.metadata);
  } catch (const Error& error) {
    throw Error(fmt::format("'{}' is not a valid safetensors file: {}", path_.string(), error.what()));
  }
}

const SafetensorsFile::Entry& SafetensorsFile::at(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) throw Error(fmt::format("'{}' has no tensor '{}'", path_.string(), name));
  return found->second;
}

bool SafetensorsFile::is_intact() const {
  const std::string_view header = text_of(header_), file = text_of(bytes_);
  const size_t digits = find_checksum(header);
  if (digits == std::string_view::npos) return metadata_.count(std::string(kChecksumKey)) == 0;
  const size_t in_file = digits + 8;
  const uint32_t before = crc32c(file.substr(0, in_file)), with_digits = crc32c(kNoChecksum, before),
                 all = crc32c(file.substr(in_file + kNoChecksum.size()), with_digits);
  return header.substr(digits, kNoChecksum.size()) == fmt::format("{:08x}", all);
}

std::vector<float> SafetensorsFile::floats(const std::string& name) const {
  const Entry& entry = at(name);
  if (!is_floating_point(entry.dtype))
    throw Error(fmt::format("'{}': tensor '{}' holds {}, not floating point", path_.string(), name,
                            name_of(entry.dtype)));
  return floats_from(entry.dtype, entry.data, static_cast<size_t>(element_count(entry.shape)));
}

void write_safetensors(const std::filesystem::path& path, const std::vector<SafetensorsTensor>& tensors,
                       std::map<std::string, std::string> metadata, Checksum checksum) {
  if (checksum == Checksum::yes) metadata[std::string(kChecksumKey)] = kNoChecksum;
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string> names;
  uint64_t offset = 0;
  const auto bytes_of = [](const SafetensorsTensor& tensor) {
    return static_cast<size_t>(element_count(tensor.shape)) * size_of(tensor.dtype);
  };
  for (const SafetensorsTensor& tensor : tensors) {
    if (!names.insert(tensor.name).second || tensor.name == "__metadata__")
      throw Error(fmt::format("cannot write '{}': the name '{}' occurs twice", path.string(), tensor.name));
    const uint64_t bytes = bytes_of(tensor);
    header[tensor.name] = {{"dtype", find_type(tensor.dtype)->name},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  // Metadata may hold file names, which need not be UTF-8.
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  if (checksum == Checksum::yes) {
    uint32_t crc = crc32c({reinterpret_cast<const char*>(&length), 8});
    crc = crc32c(text, crc);
    for (const SafetensorsTensor& tensor : tensors)
      crc = crc32c({static_cast<const char*>(tensor.data), bytes_of(tensor)}, crc);
    text.replace(find_checksum(text), kNoChecksum.size(), fmt::format("{:08x}", crc));
  }
  AtomicFile file(path);
  file.write(&length, 8);
  file.write(text);
  for (const SafetensorsTensor& tensor : tensors) file.write(tensor.data, bytes_of(tensor));
  file.commit();
}

PreparedFile prepare_safetensors(std::vector<HostTensor> tensors, std::map<std::string, std::string> metadata,
                                 Checksum checksum) {
  PreparedFile file;
  for (const HostTensor& tensor : tensors) file.bytes += tensor.values.size() * sizeof(float);
  file.write = [tensors = std::make_shared<const std::vector<HostTensor>>(std::move(tensors)),
                metadata = std::move(metadata), checksum](const std::filesystem::path& path) {
    std::vector<SafetensorsTensor> views;
    for (const HostTensor& tensor : *tensors)
      views.push_back({tensor.name, DType::f32, tensor.shape, tensor.values.data()});
    write_safetensors(path, views, metadata, checksum);
  };
  return file;
}

}  // namespace eg4d
