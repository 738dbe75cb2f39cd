#include "pipeline/frame_output.h"

#include <fmt/format.h>

#include "io/folder.h"
#include "pipeline/pictures.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

// A video's frames are encoded in order.
BackgroundWriter::Limits frame_writing(bool video) {
  return video ? BackgroundWriter::Limits{.threads = 1, .jobs = 2, .bytes = size_t{64} << 20}
               : picture_writing();
}

}  // namespace

bool is_video_name(const fs::path& path) {
  return has_extension(path, ".mp4") || has_extension(path, ".webm") || has_extension(path, ".mov");
}

FrameOutput::FrameOutput(const RenderJob& job, int width, int height)
    : folder_(job.output),
      reference_folders_(job.reference_folders),
      webp_(job.webp),
      is_video_(is_video_name(job.output)),
      files_(frame_writing(is_video_ || job.reference_folders)) {
  VideoOptions options;
  options.fps = job.fps;
  options.alpha = job.background == RenderBackground::transparent;
  if (is_video_) {
    video_ = std::make_unique<VideoWriter>(job.output, width, height, options);
    return;
  }
  make_folder(folder_);
  if (!reference_folders_) return;
  make_folder(folder_ / "renders");
  if (!job.split.empty()) make_folder(folder_ / "gt");
  if (!options.alpha && can_write_videos())
    video_ = std::make_unique<VideoWriter>(folder_ / "video_rgb.mp4", width, height, options);
}

void FrameOutput::write(const fs::path& folder, int number, const Picture& picture) const {
  if (reference_folders_)
    write_png(folder / fmt::format("{:05}.png", number), picture);
  else if (webp_)
    write_webp_lossless(folder / fmt::format("frame_{:04}.webp", number), picture);
  else
    write_png(folder / fmt::format("frame_{:04}.png", number), picture);
}

void FrameOutput::add(size_t bytes, std::function<Picture()> picture, std::function<Picture()> truth) {
  files_.push(bytes, [this, number = count_, picture = std::move(picture), truth = std::move(truth)] {
    const Picture made = picture();
    if (video_) video_->add(made);
    if (is_video_) return;
    write(reference_folders_ ? folder_ / "renders" : folder_, number, made);
    if (truth) write(folder_ / "gt", number, truth());
  });
  ++count_;
}

void FrameOutput::finish(RenderResult& result) {
  files_.finish();
  result.file_width = is_video_ ? VideoWriter::padded(result.width) : result.width;
  result.file_height = is_video_ ? VideoWriter::padded(result.height) : result.height;
  if (video_) {
    video_->finish();
    result.encoder = video_->encoder();
  }
  if (reference_folders_) {
    result.removed = remove_frames_from(folder_ / "renders", ".png", count_, "", 5);
    remove_frames_from(folder_ / "gt", ".png", count_, "", 5);
  } else if (!is_video_) {
    result.removed = remove_frames_from(folder_, webp_ ? ".webp" : ".png", count_);
  }
}

}  // namespace eg4d
