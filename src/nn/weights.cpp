#include "nn/weights.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "core/element_conversion.h"
#include "core/error.h"
#include "core/threads.h"
#include "io/torch_checkpoint.h"
#include "io/unpickler.h"

namespace eg4d {
namespace {

void require_floating_point(const SafetensorsFile::Entry& entry, const std::string& what) {
  if (!is_floating_point(entry.dtype))
    throw Error(fmt::format("{} holds {}, not floating point", what, name_of(entry.dtype)));
}

void convert(const SafetensorsFile::Entry& entry, int64_t count, float* to, const std::string& what) {
  require_floating_point(entry, what);
  to_floats(entry.dtype, entry.data, count, to);
}

// The first `columns` rows of `width` numbers as columns of `to`, whose rows are `pitch` floats. In blocks: a
// copy of the whole would double the memory that loading takes.
void convert_transposed(const SafetensorsFile::Entry& entry, int64_t columns, int64_t width, int64_t pitch,
                        float* to) {
  constexpr int64_t kBlock = 16;
  parallel_for(columns, kBlock, [&](int64_t begin, int64_t end) {
    const std::byte* data = entry.data + static_cast<size_t>(begin * width) * size_of(entry.dtype);
    const std::vector<float> block =
        floats_from(entry.dtype, data, static_cast<size_t>((end - begin) * width));
    for (int64_t r = 0; r < width; ++r)
      for (int64_t c = begin; c < end; ++c)
        to[r * pitch + c] = block[static_cast<size_t>((c - begin) * width + r)];
  });
}

// Whole pages inside the tensor's bytes; read again from the file if ever needed again.
void drop_pages(const SafetensorsFile::Entry& entry) {
  constexpr uintptr_t kPage = 4096;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(entry.data) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(entry.data) + entry.bytes) / kPage * kPage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace

WeightMap::WeightMap(const std::filesystem::path& safetensors) : path_(safetensors) {
  const auto file = add_file(safetensors);
  for (const auto& [name, entry] : file->entries()) items_[name] = {entry.shape, {&entry}, false, true};
}

void WeightMap::add_tensor(const std::string& name, DType type, Shape shape,
                           std::shared_ptr<const std::byte> data) {
  auto owned = std::make_shared<OwnedEntry>();
  owned->data = std::move(data);
  owned->entry.dtype = type;
  owned->entry.shape = std::move(shape);
  owned->entry.data = owned->data.get();
  owned->entry.bytes = static_cast<size_t>(element_count(owned->entry.shape)) * size_of(type);
  items_[name] = {owned->entry.shape, {&owned->entry}, false, false};
  owned_.push_back(std::move(owned));
}

std::shared_ptr<const SafetensorsFile> WeightMap::add_file(const std::filesystem::path& safetensors) {
  files_.push_back(std::make_shared<const SafetensorsFile>(safetensors));
  return files_.back();
}

bool WeightMap::contains_prefix(const std::string& prefix) const {
  const auto found = items_.lower_bound(prefix);
  return found != items_.end() && found->first.starts_with(prefix);
}

int64_t WeightMap::metadata_number(const std::string& key, int64_t otherwise) const {
  for (const auto& file : files_) {
    const auto found = file->metadata().find(key);
    if (found == file->metadata().end()) continue;
    const std::string& text = found->second;
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value <= 0)
      throw Error(fmt::format("'{}': the metadata '{}' is '{}', not a positive number", file->path().string(),
                              key, text));
    return value;
  }
  return otherwise;
}

const WeightMap::Item& WeightMap::at(const std::string& name) const {
  const auto found = items_.find(name);
  if (found == items_.end()) throw Error(fmt::format("'{}' has no tensor '{}'", path_.string(), name));
  return found->second;
}

std::string WeightMap::described(const std::string& name) const {
  return fmt::format("'{}': tensor '{}'", path_.string(), name);
}

std::vector<float> WeightMap::floats(const std::string& name) const {
  std::vector<float> values;
  append(name, values);
  return values;
}

void WeightMap::append(const std::string& name, std::vector<float>& values) const {
  const Item& item = at(name);
  const size_t before = values.size();
  values.resize(before + static_cast<size_t>(element_count(item.shape)));
  float* to = values.data() + before;
  for (const SafetensorsFile::Entry* part : item.parts) {
    const int64_t count = element_count(part->shape);
    if (item.transposed) {
      const int64_t rows = item.shape.at(0), columns = item.shape.at(1),
                    stored = count / std::max<int64_t>(rows, 1);
      require_floating_point(*part, described(name));
      convert_transposed(*part, stored, rows, columns, to);
      to += stored;
    } else {
      convert(*part, count, to, described(name));
      to += count;
    }
    if (item.in_file) drop_pages(*part);
  }
}

std::vector<float> WeightMap::rows(const std::string& name, std::span<const int64_t> rows) const {
  const Item& item = at(name);
  if (item.parts.size() != 1 || item.transposed || item.shape.empty())
    throw Error(fmt::format("{} is not stored in rows", described(name)));
  const SafetensorsFile::Entry& entry = *item.parts[0];
  const int64_t width = item.shape[0] == 0 ? 0 : element_count(item.shape) / item.shape[0];
  std::vector<float> values(rows.size() * static_cast<size_t>(width));
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || rows[i] >= item.shape[0])
      throw Error(fmt::format("{} has no row {}", described(name), rows[i]));
    SafetensorsFile::Entry row = entry;
    row.data += static_cast<size_t>(rows[i] * width) * size_of(entry.dtype);
    convert(row, width, values.data() + i * static_cast<size_t>(width), described(name));
  }
  return values;
}

WeightMap WeightMap::below(const std::string& prefix) const {
  WeightMap part;
  part.path_ = path_;
  part.files_ = files_;
  part.owned_ = owned_;
  for (auto item = items_.lower_bound(prefix); item != items_.end() && item->first.starts_with(prefix);
       ++item)
    part.items_.insert(*item);
  return part;
}

void WeightMap::add(const WeightMap& other) {
  files_.insert(files_.end(), other.files_.begin(), other.files_.end());
  owned_.insert(owned_.end(), other.owned_.begin(), other.owned_.end());
  for (const auto& [name, item] : other.items_) items_[name] = item;
}

namespace {

bool is_torch_checkpoint(const std::filesystem::path& path) {
  const MappedFile file(path);
  const Bytes bytes = file.bytes();
  return is_old_torch_checkpoint(bytes) ||
         (bytes.size() > 4 && std::memcmp(bytes.data(), "PK\x03\x04", 4) == 0);
}

}  // namespace

WeightMap read_weights(const std::filesystem::path& path) {
  if (!is_torch_checkpoint(path)) return WeightMap(path);
  const TorchValue file = read_torch_checkpoint(path);
  const TorchValue* tensors = &file;
  for (const char* key : {"state_dict", "model"})
    if (const TorchValue* inner = file.get_if<TorchValue::Dict>() ? file.find(key) : nullptr) tensors = inner;
  if (!tensors->get_if<TorchValue::Dict>())
    throw Error(fmt::format("'{}' holds a {}, not the tensors of a network by their names", path.string(),
                            tensors->type_name()));
  WeightMap weights;
  weights.set_path(path);
  for (const auto& [key, value] : tensors->entries()) {
    const auto* tensor = value.get_if<TorchTensor>();
    const auto* name = key.get_if<std::string>();
    if (tensor && name) weights.add_tensor(*name, tensor->dtype, tensor->shape, tensor->data);
  }
  return weights;
}

}  // namespace eg4d
