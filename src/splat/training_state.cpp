#include "splat/training_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <utility>

#include "core/threads.h"

namespace eg4d {
namespace {

constexpr uint32_t kInfinity = 0x7f800000;  // as bits; those of NaN are larger

// The largest of the values' bits without signs: order and kind of floating-point numbers are those of these.
uint32_t largest_magnitude(std::span<const float> values) {
  std::atomic<uint32_t> largest = 0;
  parallel_for(static_cast<int64_t>(values.size()), 1 << 18, [&](int64_t begin, int64_t end) {
    uint32_t here = 0;
    for (int64_t i = begin; i < end; ++i)
      here = std::max(here, std::bit_cast<uint32_t>(values[static_cast<size_t>(i)]) & 0x7fffffff);
    uint32_t before = largest;
    while (before < here && !largest.compare_exchange_weak(before, here)) {
    }
  });
  return largest;
}

bool all_finite(std::span<const float> values) {
  return largest_magnitude(values) < kInfinity;
}
bool any_nan(std::span<const float> values) {
  return largest_magnitude(values) > kInfinity;
}

// A moment may have grown to infinity: what it belongs to then stands still.
bool is_sound(std::span<const float> values, bool parameter) {
  return parameter ? all_finite(values) : !any_nan(values);
}

std::string unsound(const std::string& name) {
  return fmt::format("'{}' holds NaN or infinity", name);
}

Error damaged_checkpoint(const std::filesystem::path& path, const std::string& what) {
  return Error(fmt::format(
      "the checkpoint '{}' is damaged ({}): delete it, and the same command begins this training anew; the "
      "models beside it stay",
      path.string(), what));
}

// A file that is cut off or overwritten at its beginning is no safetensors file any more.
SafetensorsFile opened(const std::filesystem::path& path) {
  try {
    return SafetensorsFile(path);
  } catch (const Error& error) {
    throw damaged_checkpoint(path, error.what());
  }
}

}  // namespace

HostTensor on_host(const std::string& name, const Tensor& tensor) {
  HostTensor host{name, tensor.shape(), HostArray<float>(static_cast<size_t>(tensor.count()))};
  if (tensor.count() > 0) tensor.backend().copy_to_host(host.values.data(), tensor.data(), tensor.bytes());
  return host;
}

void require_finite(const std::string& name, std::span<const float> values) {
  if (!all_finite(values)) throw NotFinite(unsound(name));
}

PreparedFile prepare_training_state(const std::string& format, const std::vector<StateTensor>& tensors,
                                    std::map<std::string, std::string> metadata) {
  std::vector<HostTensor> stored;
  for (const StateTensor& state : tensors) {
    stored.push_back(on_host(state.name, *state.tensor));
    if (!is_sound(stored.back().values, state.parameter)) throw NotFinite(unsound(state.name));
  }
  metadata["format"] = format;
  return prepare_safetensors(std::move(stored), std::move(metadata), Checksum::yes);
}

TrainingStateFile::TrainingStateFile(const std::filesystem::path& path, const std::string& format)
    : file_(opened(path)) {
  if (!file_.is_intact()) throw damaged("its checksum does not fit its content");
  if (metadata("format") != format)
    throw Error(fmt::format(
        "'{}' is no checkpoint of this kind of training or of this version of eg4d ('{}', not '{}')",
        path.string(), metadata("format"), format));
}

Error TrainingStateFile::damaged(const std::string& what) const {
  return damaged_checkpoint(file_.path(), what);
}

const std::string& TrainingStateFile::metadata(const std::string& key) const {
  static const std::string nothing;
  const auto found = file_.metadata().find(key);
  return found == file_.metadata().end() ? nothing : found->second;
}

const Shape& TrainingStateFile::shape(const std::string& name) const {
  if (!file_.contains(name)) throw damaged(fmt::format("it has no '{}'", name));
  return file_.at(name).shape;
}

void TrainingStateFile::check(const std::string& name, const Shape& wanted, bool parameter) const {
  const Shape& stored = shape(name);
  const SafetensorsFile::Entry& entry = file_.at(name);
  if (entry.dtype != DType::f32 || stored != wanted)
    throw Error(fmt::format("the checkpoint '{}' was made with other settings: '{}' has shape {}, not {}",
                            file_.path().string(), name, to_string(stored), to_string(wanted)));
  if (!is_sound(file_.floats(name), parameter)) throw damaged(unsound(name));
}

void TrainingStateFile::copy_to(const std::string& name, Tensor& tensor) const {
  const SafetensorsFile::Entry& entry = file_.at(name);
  tensor.copy_from_host(entry.data, entry.bytes);
}

}  // namespace eg4d
