#include "io/partial_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/folder.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

std::optional<RemoteFile> read_description(const fs::path& path) {
  std::ifstream file(path);
  const auto json = nlohmann::json::parse(file, nullptr, false);
  if (!json.is_object() || !json.contains("url") || !json["url"].is_string()) return {};
  RemoteFile remote;
  remote.url = json["url"];
  if (json.contains("identity") && json["identity"].is_string()) remote.identity = json["identity"];
  if (json.contains("size") && json["size"].is_number_integer()) remote.size = json["size"].get<int64_t>();
  if (json.contains("sha256") && json["sha256"].is_string())
    remote.sha256 = json["sha256"].get<std::string>();
  return remote;
}

}  // namespace

PartialFile::PartialFile(fs::path destination)
    : destination_(std::move(destination)), part_(destination_), description_(destination_) {
  part_ += ".part";
  description_ += ".part.json";
  if (!destination_.parent_path().empty()) make_folder(destination_.parent_path());
  if (fs::is_directory(destination_)) throw Error(fmt::format("{} is a folder", destination_.string()));
  remote_ = fs::exists(part_) ? read_description(description_) : std::nullopt;
  if (!remote_) {
    open("wb");
    return;
  }
  hash_file(part_, hash_);
  size_ = static_cast<int64_t>(fs::file_size(part_));
  open("ab");
}

PartialFile::~PartialFile() {
  if (!file_) return;
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
  nlohmann::ordered_json json = {{"url", remote.url}, {"identity", remote.identity}};
  if (remote.size) json["size"] = *remote.size;
  if (remote.sha256) json["sha256"] = *remote.sha256;
  write_file_atomically(description_, json.dump(1) + "\n");
}

void PartialFile::append(const void* data, size_t bytes) {
  if (std::fwrite(data, 1, bytes, file_) != bytes)
    throw Error(fmt::format("cannot write {}: {}", part_.string(), std::strerror(errno)));
  hash_.update(data, bytes);
  size_ += static_cast<int64_t>(bytes);
}

void PartialFile::restart() {
  open("wb");
  size_ = 0;
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
  const bool flushed = std::fflush(file_) == 0 && fsync(fileno(file_)) == 0;
  const int reason = errno;
  if (std::fclose(file_) != 0 || !flushed) {
    file_ = nullptr;
    throw Error(fmt::format("cannot write {}: {}", part_.string(), std::strerror(reason)));
  }
  file_ = nullptr;
  std::error_code error;
  fs::rename(part_, destination_, error);
  if (error) throw Error(fmt::format("cannot rename {}: {}", part_.string(), error.message()));
  fs::remove(description_, error);
}

}  // namespace eg4d
