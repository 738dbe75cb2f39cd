#include "io/video.h"

#include "core/error.h"
#include "core/log.h"
#include "core/shared_library.h"
#include "io/video_library.h"

namespace eg4d {
namespace {

const VideoLibrary& library() {
  static const VideoLibrary* const loaded = [] {
    using Entry = const VideoLibrary* (*)();
    return reinterpret_cast<Entry>(
        load_function("eg4d_video", EG4D_VIDEO_LIBRARY_NAME,
                      "reading and writing videos needs libeg4d_video.so and FFmpeg's libraries "
                      "(pictures in a folder need neither)"))();
  }();
  return *loaded;
}

}  // namespace

bool can_write_videos() {
  static const bool can = [] {
    try {
      library();
      return true;
    } catch (const Error& error) {
      warn(std::string(error.what()) + "; videos are left out");
      return false;
    }
  }();
  return can;
}

VideoWriter::VideoWriter(const std::filesystem::path& path, int width, int height,
                         const VideoOptions& options)
    : encoder_(library().encode(path, width, height, options)) {}
VideoWriter::~VideoWriter() = default;
void VideoWriter::add(const Picture& frame) {
  encoder_->add(frame);
}
void VideoWriter::finish() {
  encoder_->finish();
}
const std::string& VideoWriter::encoder() const {
  return encoder_->encoder();
}

VideoReader::VideoReader(const std::filesystem::path& path, const PictureLimits& limits, bool keep_alpha)
    : decoder_(library().decode(path, limits, keep_alpha)) {}
VideoReader::~VideoReader() = default;
std::optional<Picture> VideoReader::next() {
  return decoder_->next();
}
double VideoReader::fps() const {
  return decoder_->fps();
}
int64_t VideoReader::frame_count() const {
  return decoder_->frame_count();
}

}  // namespace eg4d
