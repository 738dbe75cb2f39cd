#include "io/tfevents.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/mapped_file.h"
#include "io/tfevents_format.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".eg4d";  // tells our event files from others in the folder

std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string event_start(int64_t step) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  std::string event;
  tfevents::put_double(event, 1, std::chrono::duration<double>(now).count());
  tfevents::put_varint(event, 2, static_cast<uint64_t>(step));
  return event;
}

// An event with one summary value whose fields after the tag are given.
std::string summary_event(std::string_view tag, const std::string& content, int64_t step) {
  std::string value, summary, event = event_start(step);
  tfevents::put_bytes(value, 1, tag);
  value += content;
  tfevents::put_bytes(summary, 1, value);
  tfevents::put_bytes(event, 5, summary);
  return event;
}

// What follows damage (a disk that lost power) is dropped too: a run must be able to continue.
void drop_after(const fs::path& path, int64_t last_step) {
  const MappedFile file(path);
  const tfevents::Records records = tfevents::records(text_of(file.bytes()));
  std::string kept;
  bool has_content = false;
  for (const std::string_view record : records.payloads) {
    const Event event = tfevents::parse_event(record, path.string());
    const bool is_version = !event.file_version.empty();
    if (!is_version && event.step > last_step) continue;
    has_content |= !is_version;
    kept += tfevents::framed(std::string(record));
  }
  if (!has_content)
    fs::remove(path);
  else if (kept.size() != file.bytes().size())
    write_file_atomically(path, kept);
}

std::string host_name() {
  char name[256] = "";
  if (gethostname(name, sizeof name - 1) != 0) return "localhost";
  return name;
}

}  // namespace

EventWriter::EventWriter(const fs::path& folder, int64_t last_step) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(fmt::format("cannot make the folder '{}': {}", folder.string(), error.message()));
  std::vector<fs::path> earlier;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.find("tfevents") != name.npos && name.ends_with(kSuffix)) earlier.push_back(entry.path());
  }
  for (const fs::path& path : earlier) drop_after(path, last_step);

  // TensorBoard reads a folder's files in the order of their names: time first.
  static std::atomic<unsigned> number{0};
  const auto seconds = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  path_ = folder / fmt::format("events.out.tfevents.{:010}.{}.{}.{:04}{}", seconds, host_name(), getpid(),
                               number++, kSuffix);
  file_.reset(std::fopen(path_.c_str(), "wb"));
  if (!file_) throw Error(fmt::format("cannot write '{}': {}", path_.string(), std::strerror(errno)));
  std::string version = event_start(0);
  tfevents::put_bytes(version, 3, "brain.Event:2");
  write(version);
  flush();
}

void EventWriter::write(const std::string& event) {
  const std::string record = tfevents::framed(event);
  if (std::fwrite(record.data(), 1, record.size(), file_.get()) != record.size())
    throw Error(fmt::format("cannot write '{}': {}", path_.string(), std::strerror(errno)));
}

void EventWriter::flush() {
  if (std::fflush(file_.get()) != 0)
    throw Error(fmt::format("cannot write '{}': {}", path_.string(), std::strerror(errno)));
}

void EventWriter::add_scalar(std::string_view tag, double value, int64_t step) {
  std::string content;
  tfevents::put_float(content, 2, static_cast<float>(value));
  write(summary_event(tag, content, step));
}

EncodedPicture encoded_picture(const Picture& picture) {
  return {picture.width, picture.height, picture.channels, encode_png(picture)};
}

void EventWriter::add_picture(std::string_view tag, const EncodedPicture& picture, int64_t step) {
  std::string image, content;
  tfevents::put_varint(image, 1, static_cast<uint64_t>(picture.height));
  tfevents::put_varint(image, 2, static_cast<uint64_t>(picture.width));
  tfevents::put_varint(image, 3, static_cast<uint64_t>(picture.channels));
  tfevents::put_bytes(image, 4, {reinterpret_cast<const char*>(picture.png.data()), picture.png.size()});
  tfevents::put_bytes(content, 4, image);
  write(summary_event(tag, content, step));
}

std::vector<Event> read_events(const fs::path& path) {
  const MappedFile file(path);
  const tfevents::Records records = tfevents::records(text_of(file.bytes()));
  if (records.damaged)
    throw Error(
        fmt::format("cannot read '{}': record {} is damaged", path.string(), records.payloads.size()));
  std::vector<Event> events;
  for (const std::string_view record : records.payloads)
    events.push_back(tfevents::parse_event(record, path.string()));
  return events;
}

}  // namespace eg4d
