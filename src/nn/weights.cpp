#include "nn/weights.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <charconv>
#include <cstring>

#include "core/error.h"
#include "core/half.h"
#include "core/threads.h"

namespace eg4d {
namespace {

constexpr int64_t kGrain = 1 << 18;

template <class Stored, class Convert>
void convert(const SafetensorsFile::Entry& entry, int64_t count, float* to, Convert convert_one) {
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Stored value;
      std::memcpy(&value, entry.data + static_cast<size_t>(i) * sizeof(Stored), sizeof(Stored));
      to[i] = convert_one(value);
    }
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
  for (const auto& [name, entry] : file->entries()) items_[name] = {entry.shape, {&entry}, false};
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

std::vector<float> WeightMap::floats(const std::string& name) const {
  std::vector<float> values;
  append(name, values);
  return values;
}

void WeightMap::append(const std::string& name, std::vector<float>& values) const {
  const auto found = items_.find(name);
  if (found == items_.end()) throw Error(fmt::format("'{}' has no tensor '{}'", path_.string(), name));
  const Item& item = found->second;
  const size_t before = values.size();
  values.resize(before + static_cast<size_t>(element_count(item.shape)));
  float* to = values.data() + before;
  for (const SafetensorsFile::Entry* part : item.parts) {
    const int64_t count = element_count(part->shape);
    switch (part->dtype) {
      case DType::f32:
        convert<float>(*part, count, to, [](float v) { return v; });
        break;
      case DType::f64:
        convert<double>(*part, count, to, [](double v) { return static_cast<float>(v); });
        break;
      case DType::f16:
        convert<uint16_t>(*part, count, to, half_to_float);
        break;
      case DType::bf16:
        convert<uint16_t>(*part, count, to, bfloat16_to_float);
        break;
      default:
        throw Error(fmt::format("'{}': tensor '{}' holds {}, not floating point", path_.string(), name,
                                name_of(part->dtype)));
    }
    drop_pages(*part);
    to += count;
  }
  if (!item.transposed) return;
  const int64_t rows = item.shape.at(0), columns = item.shape.at(1);
  const std::vector<float> stored(values.begin() + static_cast<int64_t>(before), values.end());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      values[before + static_cast<size_t>(r * columns + c)] = stored[static_cast<size_t>(c * rows + r)];
}

}  // namespace eg4d
