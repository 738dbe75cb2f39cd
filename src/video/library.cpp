#include "io/video_library.h"
#include "video/ffmpeg.h"

extern "C" __attribute__((visibility("default"))) const eg4d::VideoLibrary* EG4D_VIDEO_LIBRARY() {
  static const eg4d::VideoLibrary library{eg4d::ffmpeg::encode, eg4d::ffmpeg::decode};
  return &library;
}
