#pragma once

// What libeg4d_video.so offers (src/video/): reading and writing videos with FFmpeg, whose libraries are more
// than a hundred. It is loaded when a video is first touched; io/video.h is what the rest of the program
// uses.

#include "io/video.h"

namespace eg4d {

class VideoEncoder {
 public:
  virtual ~VideoEncoder() = default;
  virtual void add(const Picture& frame) = 0;
  virtual void finish() = 0;
  virtual const std::string& encoder() const = 0;
};

class VideoDecoder {
 public:
  virtual ~VideoDecoder() = default;
  virtual std::optional<Picture> next() = 0;
  virtual double fps() const = 0;
  virtual int64_t frame_count() const = 0;
};

struct VideoLibrary {
  std::unique_ptr<VideoEncoder> (*encode)(const std::filesystem::path& path, int width, int height,
                                          const VideoOptions& options);
  std::unique_ptr<VideoDecoder> (*decode)(const std::filesystem::path& path, const PictureLimits& limits,
                                          bool keep_alpha);
};

// The function that the library exports; a change of these declarations changes its name.
#define EG4D_VIDEO_LIBRARY eg4d_video_library_2
#define EG4D_VIDEO_LIBRARY_NAME "eg4d_video_library_2"

}  // namespace eg4d

extern "C" const eg4d::VideoLibrary* EG4D_VIDEO_LIBRARY();
