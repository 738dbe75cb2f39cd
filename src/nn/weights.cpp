#include "nn/weights.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <charconv>
#include <cstring>

#include "core/element_conversion.h"
#include "core/error.h"
#include "io/torch_checkpoint.h"
#include "io/unpickler.h"

namespace eg4d {
namespace {

void require_floating_point(const SafetensorsFile::Entry& entry, const std::string& what) {
  if (!is_floating_point(entry.dtype))
    throw Error(fmt::format("{} holds {}, not floating point", what, name_of(entry.dtype)));
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

StoredWeight WeightMap::stored(const std::string& name) const {
  const Item& item = at(name);
  if (item.transposed && item.parts.size() != 1)
    throw Error(fmt::format("{} is turned and in several parts", described(name)));
  StoredWeight weight;
  for (const SafetensorsFile::Entry* part : item.parts) {
    require_floating_point(*part, described(name));
    const int64_t count = element_count(part->shape);
    const int64_t rows = item.transposed ? item.shape.at(0) : part->shape.empty() ? 1 : part->shape[0];
    weight.parts.push_back({part->data, part->dtype, rows, rows == 0 ? 0 : count / rows, item.transposed});
  }
  return weight;
}

void WeightMap::drop(const std::string& name) const {
  const Item& item = at(name);
  if (!item.in_file) return;
  for (const SafetensorsFile::Entry* part : item.parts) drop_pages(*part);
}

std::vector<float> WeightMap::floats(const std::string& name) const {
  const StoredWeight weight = stored(name);
  std::vector<float> values(static_cast<size_t>(weight.count()));
  weight.copy_as_floats(values.data());
  drop(name);
  return values;
}

std::vector<float> WeightMap::rows(const std::string& name, std::span<const int64_t> rows) const {
  const Item& item = at(name);
  if (item.parts.size() != 1 || item.transposed || item.shape.empty())
    throw Error(fmt::format("{} is not stored in rows", described(name)));
  const SafetensorsFile::Entry& entry = *item.parts[0];
  require_floating_point(entry, described(name));
  const int64_t width = item.shape[0] == 0 ? 0 : element_count(item.shape) / item.shape[0];
  std::vector<float> values(rows.size() * static_cast<size_t>(width));
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || rows[i] >= item.shape[0])
      throw Error(fmt::format("{} has no row {}", described(name), rows[i]));
    SafetensorsFile::Entry row = entry;
    row.data += static_cast<size_t>(rows[i] * width) * size_of(entry.dtype);
    to_floats(row.dtype, row.data, width, values.data() + i * static_cast<size_t>(width));
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
