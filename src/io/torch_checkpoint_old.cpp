#include <fmt/format.h>

#include <cstring>
#include <map>

#include "core/error.h"
#include "io/unpickler.h"

namespace eg4d {
namespace {

// The pickle of the magic number, of 10 bytes.
constexpr std::string_view kMagic(
    "\x80\x02\x8a\x0a"
    "l\xfc\x9c"
    "F\xf9 j\xa8P\x19.",
    15);
constexpr int64_t kFormat = 1001;

class OldFormat {
 public:
  OldFormat(Bytes file, const std::string& name, const TorchLimits& limits)
      : file_(file), name_(name), limits_(limits) {}

  TorchValue read() {
    position_ = kMagic.size();
    if (next_pickle(no_storage()).integer() != kFormat) fail("its format is of another number than 1001");
    if (!next_pickle(no_storage()).at("little_endian").boolean())
      fail("its tensors are big-endian; save it again on a little-endian machine");
    // The storages lie behind the value that refers to them: it is read once to find its end and their sizes,
    // and again with the storages.
    const size_t value_begin = position_;
    next_pickle(sizes());
    read_storages(next_pickle(no_storage()));
    position_ = value_begin;
    return next_pickle([&](const std::string& key, uint64_t) { return storages_.at(key); });
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("cannot read '{}': {}", name_, what));
  }

  TorchValue next_pickle(const StorageLoader& load) {
    size_t length = 0;
    TorchValue value = unpickle(file_.subspan(position_), name_, load, limits_, &length);
    position_ += length;
    return value;
  }

  StorageLoader no_storage() const {
    return [this](const std::string&, uint64_t) -> std::shared_ptr<const std::byte> {
      fail("its pickle is damaged (tensors where there should be none)");
    };
  }

  // Any bytes of the file stand for a storage's: no file holds a storage that is larger than itself.
  StorageLoader sizes() {
    return [this](const std::string& key, uint64_t bytes) -> std::shared_ptr<const std::byte> {
      if (bytes > file_.size()) fail("it is truncated");
      bytes_[key] = bytes;
      return {std::shared_ptr<const std::byte>(), file_.data()};
    };
  }

  void read_storages(const TorchValue& keys) {
    uint64_t budget = limits_.max_bytes;
    for (const TorchValue& item : keys.items()) {
      const std::string& key = item.text();
      const auto found = bytes_.find(key);
      if (found == bytes_.end()) fail("it holds a storage of unknown size");
      const uint64_t bytes = found->second;
      int64_t count = 0;
      if (file_.size() - position_ < sizeof count || file_.size() - position_ - sizeof count < bytes)
        fail("it is truncated");
      std::memcpy(&count, file_.data() + position_, sizeof count);
      position_ += sizeof count;
      // The type of the elements is known to the value alone; 8 bytes are the largest.
      if (count < 0 || (count == 0) != (bytes == 0) ||
          (count > 0 && (bytes % static_cast<uint64_t>(count) || bytes / static_cast<uint64_t>(count) > 8)))
        fail("one of its storages has another size than its tensors say");
      if (bytes > budget) fail(fmt::format("its tensors take more than {} bytes", limits_.max_bytes));
      budget -= bytes;
      std::shared_ptr<std::byte[]> memory(new std::byte[static_cast<size_t>(bytes)]);
      if (bytes) std::memcpy(memory.get(), file_.data() + position_, static_cast<size_t>(bytes));
      storages_[key] = {memory, memory.get()};
      position_ += static_cast<size_t>(bytes);
    }
    for (const auto& [key, bytes] : bytes_)
      if (!storages_.count(key)) fail("one of its storages is missing");
  }

  Bytes file_;
  const std::string& name_;
  const TorchLimits& limits_;
  size_t position_ = 0;
  std::map<std::string, uint64_t> bytes_;
  std::map<std::string, std::shared_ptr<const std::byte>> storages_;
};

}  // namespace

bool is_old_torch_checkpoint(Bytes file) {
  return file.size() >= kMagic.size() && std::memcmp(file.data(), kMagic.data(), kMagic.size()) == 0;
}

TorchValue decode_old_torch_checkpoint(Bytes file, const std::string& name, const TorchLimits& limits) {
  return OldFormat(file, name, limits).read();
}

}  // namespace eg4d
