#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/cpu.h>
#include <libavutil/display.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

#include <memory>
#include <string>

#include "io/video_library.h"

// Ownership and error texts for FFmpeg's C interface.
namespace eg4d::ffmpeg {

struct Free {
  void operator()(AVCodecContext* p) const { avcodec_free_context(&p); }
  void operator()(AVFrame* p) const { av_frame_free(&p); }
  void operator()(AVPacket* p) const { av_packet_free(&p); }
  void operator()(SwsContext* p) const { sws_freeContext(p); }
};
using Codec = std::unique_ptr<AVCodecContext, Free>;
using Frame = std::unique_ptr<AVFrame, Free>;
using Packet = std::unique_ptr<AVPacket, Free>;
using Scaler = std::unique_ptr<SwsContext, Free>;

// FFmpeg prints to stderr on its own; what matters is told in our errors instead.
inline void silence() {
  av_log_set_level(AV_LOG_QUIET);
}

// A frame with memory of its own, padded as FFmpeg's SIMD code expects it; nothing when memory runs out.
inline Frame new_frame(int width, int height, AVPixelFormat format) {
  Frame frame(av_frame_alloc());
  if (!frame) return nullptr;
  frame->width = width;
  frame->height = height;
  frame->format = format;
  if (av_frame_get_buffer(frame.get(), 0) < 0) return nullptr;
  return frame;
}

std::unique_ptr<VideoEncoder> encode(const std::filesystem::path& path, int width, int height,
                                     const VideoOptions& options);
std::unique_ptr<VideoDecoder> decode(const std::filesystem::path& path, const PictureLimits& limits,
                                     bool keep_alpha);

inline std::string message(int error) {
  char text[AV_ERROR_MAX_STRING_SIZE] = "";
  av_strerror(error, text, sizeof text);
  return text;
}

}  // namespace eg4d::ffmpeg
