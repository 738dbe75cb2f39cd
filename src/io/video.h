#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "io/image.h"

namespace eg4d {

class VideoEncoder;
class VideoDecoder;

struct VideoOptions {
  double fps = 10;
  int quality = 18;          // constant rate factor: 0 is lossless or nearly so, 51 the worst
  std::string encoder = {};  // FFmpeg's name; empty takes the best there is: libx264, else libopenh264, else
                             // mpeg4; for WebM libvpx-vp9, for MOV prores_ks
  bool alpha = false;        // frames are RGBA; WebM and MOV alone
};

// For work whose result is pictures, and videos of them beside: whether libeg4d_video.so and FFmpeg are here.
// Where they are not, a warning says so once, and that the videos are left out.
bool can_write_videos();

// A video of the kind that the name's end says: .mp4 (and any other): H.264 that browsers and players open;
// .webm: VP9, with alpha browsers show it over the page; .mov: ProRes 4444, for editing. Colour is BT.709 of
// limited range, 4:2:0 except in ProRes. Odd sizes are padded to even ones by repeating the last column or
// row. The same frames give the same file, whatever the number of processors. The file appears when finish()
// returns; without it nothing is left. Throws Error (no encoder, full disk, a frame of another size).
class VideoWriter {
 public:
  VideoWriter(const std::filesystem::path& path, int width, int height, const VideoOptions& options = {});
  ~VideoWriter();
  VideoWriter(const VideoWriter&) = delete;
  VideoWriter& operator=(const VideoWriter&) = delete;

  void add(const Picture& frame);  // RGB, with VideoOptions::alpha RGBA; width × height
  void finish();
  const std::string& encoder() const;  // the one in use
  // The size of the video in pixels, even for odd pictures.
  static int padded(int side) { return side + side % 2; }

 private:
  std::unique_ptr<VideoEncoder> encoder_;
};

// The frames of the first video stream of any local file that FFmpeg reads, one after the other, as RGB,
// turned upright as the stream's display matrix tells (by quarter turns). With `keep_alpha` frames of a video
// that has alpha are RGBA; otherwise alpha is dropped, as players without it do. Throws Error (no video in
// the file, no frames, too large, damaged), one sentence naming the file.
class VideoReader {
 public:
  explicit VideoReader(const std::filesystem::path& path, const PictureLimits& limits = {},
                       bool keep_alpha = false);
  ~VideoReader();
  VideoReader(const VideoReader&) = delete;
  VideoReader& operator=(const VideoReader&) = delete;

  std::optional<Picture> next();  // nothing after the last frame
  double fps() const;             // 0 when the file does not tell
  int64_t frame_count() const;    // as the header tells it; 0 when it does not

 private:
  std::unique_ptr<VideoDecoder> decoder_;
};

}  // namespace eg4d
