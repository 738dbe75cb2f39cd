#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/image.h"

namespace eg4d {

// A picture as event files hold it, so that it can be encoded by another thread.
struct EncodedPicture {
  int width, height, channels;
  std::vector<uint8_t> png;
};
EncodedPicture encoded_picture(const Picture& picture);

// Curves and pictures for TensorBoard. Event files are TFRecords (length, masked CRC-32C, bytes, masked
// CRC-32C) of Event protocol buffers (tensorflow/core/util/event.proto).
class EventWriter {
 public:
  // Starts a new event file in the folder, which is made when missing. From the event files that eg4d wrote
  // there before, everything after last_step is dropped first, so that a run that continues from a checkpoint
  // of that step draws each curve once; -1 starts from nothing. Throws Error.
  explicit EventWriter(const std::filesystem::path& folder, int64_t last_step = -1);

  void add_scalar(std::string_view tag, double value, int64_t step);
  void add_picture(std::string_view tag, const EncodedPicture& picture, int64_t step);
  void add_picture(std::string_view tag, const Picture& picture, int64_t step) {
    add_picture(tag, encoded_picture(picture), step);
  }
  void flush();  // what was added so far is in the file when it returns; throws Error on a full disk
  const std::filesystem::path& path() const { return path_; }

 private:
  void write(const std::string& event);

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
};

struct Event {
  struct Scalar {
    std::string tag;
    float value = 0;
  };
  struct Image {
    std::string tag;
    int width = 0, height = 0;
    std::string png;
  };
  double wall_time = 0;  // seconds since 1970
  int64_t step = 0;
  std::string file_version;  // of a file's first event
  std::vector<Scalar> scalars;
  std::vector<Image> images;
};

// The events of a file that eg4d or TensorBoard wrote; kinds of content other than above are skipped. A
// record cut off at the end (the writer was killed) ends the list; damage before it throws Error.
std::vector<Event> read_events(const std::filesystem::path& path);

}  // namespace eg4d
