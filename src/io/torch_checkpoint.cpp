#include "io/torch_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "io/unpickler.h"
#include "io/zip_reader.h"

namespace eg4d {
namespace {

constexpr uint64_t kMaxPickle = 64u << 20;  // of data.pkl: names and shapes, no numbers

// The zip archive that torch.save writes: <name>/data.pkl, <name>/byteorder, <name>/data/<key>.
class Archive {
 public:
  Archive(Bytes file, const std::string& name, const TorchLimits& limits)
      : name_(name), zip_(file, name), budget_(limits.max_bytes) {
    constexpr std::string_view kPickle = "/data.pkl";
    for (const std::string& path : zip_.records()) {
      if (!path.ends_with(kPickle) || path.find('/') != path.size() - kPickle.size()) continue;
      zip_.enter(path.substr(0, path.size() - kPickle.size() + 1));
      return;
    }
    fail("it is a zip archive without data.pkl, not a checkpoint that torch.save wrote");
  }

  std::string pickle() { return text("data.pkl"); }

  void check_byte_order() {
    if (zip_.has("byteorder") && text("byteorder") != "little")  // absent before PyTorch 2.1
      fail("its tensors are big-endian; save it again on a little-endian machine");
  }

  std::shared_ptr<const std::byte> storage(const std::string& key, uint64_t bytes) {
    const ZipReader::Record record = zip_.read("data/" + key, budget_, bytes);
    budget_ -= record.size;
    return record.data;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("cannot read '{}': {}", name_, what));
  }

  std::string text(const std::string& name) {
    const ZipReader::Record record = zip_.read(name, std::min(budget_, kMaxPickle));
    budget_ -= record.size;
    return {reinterpret_cast<const char*>(record.data.get()), record.size};
  }

  std::string name_;
  ZipReader zip_;
  uint64_t budget_ = 0;
};

bool starts_with(Bytes file, std::string_view text) {
  return file.size() >= text.size() && std::memcmp(file.data(), text.data(), text.size()) == 0;
}

}  // namespace

TorchValue decode_torch_checkpoint(Bytes file, const std::string& name, const TorchLimits& limits) {
  if (is_old_torch_checkpoint(file)) return decode_old_torch_checkpoint(file, name, limits);
  if (!starts_with(file, "PK"))
    throw Error(fmt::format("cannot read '{}': it is not a PyTorch checkpoint", name));
  Archive archive(file, name, limits);
  archive.check_byte_order();
  const std::string pickle = archive.pickle();
  return unpickle(
      std::as_bytes(std::span(pickle)), name,
      [&](const std::string& key, uint64_t bytes) { return archive.storage(key, bytes); }, limits);
}

TorchValue read_torch_checkpoint(const std::filesystem::path& path, const TorchLimits& limits) {
  return decode_torch_checkpoint(MappedFile(path).bytes(), path.string(), limits);
}

}  // namespace eg4d
