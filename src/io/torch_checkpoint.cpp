#include "io/torch_checkpoint.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/error.h"
#include "io/unpickler.h"

namespace eg4d {
namespace {

constexpr uint64_t kMaxPickle = 64u << 20;  // of data.pkl: names and shapes, no numbers
constexpr uint64_t kMaxDeflate = 1032;      // deflate shrinks no further

struct Discard {
  void operator()(zip_t* archive) const { zip_discard(archive); }
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

// The zip archive that torch.save writes: <name>/data.pkl, <name>/byteorder, <name>/data/<key>.
class Archive {
 public:
  Archive(Bytes file, const std::string& name, const TorchLimits& limits)
      : name_(name), file_size_(file.size()) {
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t* source = zip_source_buffer_create(file.data(), file.size(), 0, &error);
    archive_.reset(source ? zip_open_from_source(source, ZIP_RDONLY, &error) : nullptr);
    const std::string reason = zip_error_strerror(&error);
    zip_error_fini(&error);
    if (!archive_) {
      if (source) zip_source_free(source);
      fail(fmt::format("its zip archive is damaged or truncated ({})", reason));
    }
    budget_ = limits.max_bytes;
    find_prefix();
  }

  std::string pickle() {
    const auto data = load("data.pkl", std::nullopt);
    return {reinterpret_cast<const char*>(data.first.get()), data.second};
  }

  void check_byte_order() {
    if (zip_name_locate(archive_.get(), (prefix_ + "byteorder").c_str(), 0) < 0)
      return;  // absent before PyTorch 2.1
    const auto data = load("byteorder", std::nullopt);
    if (std::string_view(reinterpret_cast<const char*>(data.first.get()), data.second) != "little")
      fail("its tensors are big-endian; save it again on a little-endian machine");
  }

  std::shared_ptr<const std::byte> storage(const std::string& key, uint64_t bytes) {
    return load("data/" + key, bytes).first;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("cannot read '{}': {}", name_, what));
  }

  void find_prefix() {
    constexpr std::string_view kPickle = "/data.pkl";
    const zip_int64_t entries = zip_get_num_entries(archive_.get(), 0);
    for (zip_int64_t i = 0; i < entries; ++i) {
      const char* entry = zip_get_name(archive_.get(), static_cast<zip_uint64_t>(i), 0);
      if (!entry) continue;
      const std::string_view path(entry);
      if (path.ends_with(kPickle) && path.find('/') == path.size() - kPickle.size()) {
        prefix_ = path.substr(0, path.size() - kPickle.size() + 1);
        return;
      }
    }
    fail("it is a zip archive without data.pkl, not a checkpoint that torch.save wrote");
  }

  // One record, which must be of `expected` bytes if that is told. What a record claims is checked before
  // memory is taken.
  std::pair<std::shared_ptr<const std::byte>, size_t> load(const std::string& record,
                                                           std::optional<uint64_t> expected) {
    zip_stat_t status;
    const std::string path = prefix_ + record;
    if (path.find('\0') != path.npos || zip_stat(archive_.get(), path.c_str(), 0, &status) != 0)
      fail(fmt::format("its record '{}' is missing", record));
    constexpr zip_uint64_t kNeeded = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if ((status.valid & kNeeded) != kNeeded || status.comp_size > file_size_ ||
        (status.comp_method != ZIP_CM_STORE && status.comp_method != ZIP_CM_DEFLATE) ||
        status.size > status.comp_size * (status.comp_method == ZIP_CM_STORE ? 1 : kMaxDeflate))
      fail(fmt::format("its record '{}' is damaged", record));
    if (expected && status.size != *expected)
      fail(fmt::format("its record '{}' has {} bytes instead of {}", record, status.size, *expected));
    if (status.size > budget_ || (!expected && status.size > kMaxPickle))
      fail(fmt::format("its record '{}' of {} bytes is larger than allowed", record, status.size));
    budget_ -= status.size;

    const size_t size = static_cast<size_t>(status.size);
    std::shared_ptr<std::byte[]> memory(new std::byte[size]);
    const std::unique_ptr<zip_file_t, Discard> file(zip_fopen_index(archive_.get(), status.index, 0));
    size_t done = 0;
    while (file && done < size) {
      const zip_int64_t count =
          zip_fread(file.get(), memory.get() + done, std::min(size - done, size_t{1} << 30));
      if (count <= 0) break;
      done += static_cast<size_t>(count);
    }
    std::byte beyond;
    if (!file || done != size || zip_fread(file.get(), &beyond, 1) != 0)  // the last read checks the CRC
      fail(fmt::format("its record '{}' is damaged or truncated", record));
    return {std::shared_ptr<const std::byte>(memory, memory.get()), size};
  }

  std::string name_;
  uint64_t file_size_ = 0;
  uint64_t budget_ = 0;
  std::unique_ptr<zip_t, Discard> archive_;
  std::string prefix_;
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
