#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "io/background_writer.h"
#include "io/video.h"
#include "pipeline/render.h"

namespace eg4d {

// Where frames go, beside the rendering: a video, numbered pictures in a folder, or the folders of the
// Python program (renders/00000.png, gt/00000.png, and video_rgb.mp4 where FFmpeg is).
class FrameOutput {
 public:
  // Of frames of width × height.
  FrameOutput(const RenderJob& job, int width, int height);
  // What makes the next frame, and its truth where there is one, called beside the rendering; `bytes`: that
  // they hold until then.
  void add(size_t bytes, std::function<Picture()> picture, std::function<Picture()> truth = {});
  // Fills in what became of it.
  void finish(RenderResult& result);

 private:
  void write(const std::filesystem::path& folder, int number, const Picture& picture) const;

  const std::filesystem::path folder_;
  const bool reference_folders_, webp_;
  std::unique_ptr<VideoWriter> video_;
  bool is_video_ = false;  // and nothing else
  int count_ = 0;
  BackgroundWriter files_;  // last: it writes to the video
};

// Whether a file of this name is a video that can be written: .mp4, .webm, .mov.
bool is_video_name(const std::filesystem::path& path);

}  // namespace eg4d
