#include "io/partial_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/folder.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSyncInterval = 64 << 20;  // bytes

struct Description {
  RemoteFile remote;
  int64_t synced = 0;
};

std::optional<Description> read_description(const fs::path& path) {
  std::ifstream file(path);
  const auto json = nlohmann::json::parse(file, nullptr, false);
  if (!json.is_object() || !json.contains("url") || !json["url"].is_string()) return {};
  Description description;
  RemoteFile& remote = description.remote;
  remote.url = json["url"];
  if (json.contains("identity") && json["identity"].is_string()) remote.identity = json["identity"];
  if (json.contains("size") && json["size"].is_number_integer()) remote.size = json["size"].get<int64_t>();
  if (json.contains("sha256") && json["sha256"].is_string())
    remote.sha256 = json["sha256"].get<std::string>();
  if (json.contains("synced") && json["synced"].is_number_integer())
    description.synced = json["synced"].get<int64_t>();
  return description;
}

}  // namespace

PartialFile::PartialFile(fs::path destination)
    : destination_(std::move(destination)), part_(destination_), description_(destination_) {
  part_ += ".part";
  description_ += ".part.json";
  if (!destination_.parent_path().empty()) make_folder(destination_.parent_path());
  if (fs::is_directory(destination_)) throw Error(fmt::format("{} is a folder", destination_.string()));
  fs::path lock = part_;
  lock += ".lock";
  lock_.emplace(lock, fmt::format("the download of {}", destination_.string()));
  const auto known = fs::exists(part_) ? read_description(description_) : std::nullopt;
  if (!known) {
    open("wb");
    return;
  }
  remote_ = known->remote;
  size_ = static_cast<int64_t>(fs::file_size(part_));
  if (!remote_->sha256 && known->synced < size_) {
    size_ = std::max<int64_t>(known->synced, 0);
    fs::resize_file(part_, static_cast<uintmax_t>(size_));
  }
  synced_ = size_;
  hash_file(part_, hash_);
  open("ab");
}

PartialFile::~PartialFile() {
  if (!file_) return;
  if (size_ > 0 && remote_) {
    try {
      sync();
    } catch (const std::exception&) {
      // What is not on the disk is fetched once more.
    }
  }
  std::fclose(file_);
  if (size_ > 0) return;
  std::error_code ignored;
  fs::remove(part_, ignored);
  fs::remove(description_, ignored);
}

void PartialFile::open(const char* mode) {
  if (file_) std::fclose(file_);
  file_ = std::fopen(part_.c_str(), mode);
  if (!file_) throw Error(fmt::format("cannot write {}: {}", part_.string(), std::strerror(errno)));
}

void PartialFile::describe(const RemoteFile& remote) {
  remote_ = remote;
  write_description();
}

void PartialFile::write_description() const {
  nlohmann::ordered_json json = {{"url", remote_->url}, {"identity", remote_->identity}, {"synced", synced_}};
  if (remote_->size) json["size"] = *remote_->size;
  if (remote_->sha256) json["sha256"] = *remote_->sha256;
  // A server's entity tag may be any bytes.
  write_file_atomically(description_,
                        json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void PartialFile::sync() {
  if (std::fflush(file_) != 0 || fsync(fileno(file_)) != 0)
    throw Error(fmt::format("cannot write {}: {}", part_.string(), std::strerror(errno)));
  synced_ = size_;
  write_description();
}

void PartialFile::append(const void* data, size_t bytes) {
  if (std::fwrite(data, 1, bytes, file_) != bytes)
    throw Error(fmt::format("cannot write {}: {}", part_.string(), std::strerror(errno)));
  hash_.update(data, bytes);
  size_ += static_cast<int64_t>(bytes);
  if (remote_ && !remote_->sha256 && size_ - synced_ >= kSyncInterval) sync();
}

void PartialFile::restart() {
  open("wb");
  size_ = synced_ = 0;
  hash_ = {};
  remote_.reset();
}

void PartialFile::discard() {
  restart();
  std::fclose(file_);
  file_ = nullptr;
  std::error_code ignored;
  fs::remove(part_, ignored);
  fs::remove(description_, ignored);
}

void PartialFile::commit() {
  bool written = std::fflush(file_) == 0 && fsync(fileno(file_)) == 0;
  int reason = errno;
  if (std::fclose(std::exchange(file_, nullptr)) != 0 && written) {
    written = false;
    reason = errno;
  }
  if (!written) throw Error(fmt::format("cannot write {}: {}", part_.string(), std::strerror(reason)));
  std::error_code error;
  fs::rename(part_, destination_, error);
  if (error) throw Error(fmt::format("cannot rename {}: {}", part_.string(), error.message()));
  sync_folder(destination_.parent_path());
  fs::remove(description_, error);
}

}  // namespace eg4d
