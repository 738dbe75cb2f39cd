#include "pipeline/animate.h"

#include <fmt/format.h>

#include <optional>

#include "core/error.h"
#include "core/log.h"
#include "io/sha256.h"
#include "io/video.h"
#include "picture/input_picture.h"
#include "pipeline/stage_folder.h"
#include "pipeline/video_painter.h"
#include "scene/frame_source.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

fs::path frame_path(const fs::path& folder, int frame) {
  return folder / fmt::format("frame_{:03}.png", frame);
}

fs::path frames_folder(const AnimateJob& job) {
  return job.output / "video";
}

StageFolder::Manifest manifest_of(const AnimateJob& job, const Picture& input) {
  Sha256 hash;
  hash.update(input.data.data(), input.data.size());
  std::string weights = model_identity(job.model.path);
  if (!job.unet.empty()) weights += ", " + model_identity(job.unet);
  return {"animate", settings_of(job.options), fmt::format("{}x{} {}", input.width, input.height, hash.hex()),
          weights};
}

// The settings that frames depend on which are taken from a video.
struct TakenFrames {
  AnimateOptions options = {};
  void bind(ConfigSchema& schema) {
    schema.add("frames", options.frames, {1, 1024}, "");
    schema.add("side", options.side, {0, 8192}, "");
  }
};

std::vector<Picture> taken_frames(const AnimateJob& job) {
  std::vector<Picture> frames = read_frames_evenly(job.video, job.options.frames, [&](const Picture& frame) {
    return animation_input(frame, job.options.side).picture;
  });
  if (frames.size() < 2) throw Error(fmt::format("{} has fewer than two frames", job.video.string()));
  return frames;
}

StageFolder::Manifest manifest_of(const AnimateJob& job, const std::vector<Picture>& frames) {
  Sha256 hash;
  for (const Picture& frame : frames) hash.update(frame.data.data(), frame.data.size());
  return {"animate", settings_of(TakenFrames{job.options}),
          fmt::format("{} frames of a video {}", frames.size(), hash.hex())};
}

bool is_complete(const AnimateResult& result, int frames) {
  for (int frame = 0; frame < frames; ++frame)
    if (!fs::exists(frame_path(result.frames, frame))) return false;
  return fs::exists(result.video) || !can_write_videos();
}

void write_video(const fs::path& path, const fs::path& frames, int count, double fps) {
  const Picture first = read_picture(frame_path(frames, 0));
  VideoWriter writer(path, first.width, first.height, {.fps = fps});
  for (int frame = 0; frame < count; ++frame) writer.add(read_picture(frame_path(frames, frame)));
  writer.finish();
}

AnimateResult take_video(const AnimateJob& job) {
  const std::vector<Picture> frames = taken_frames(job);
  StageFolder folder(frames_folder(job), manifest_of(job, frames), job.overwrite, job.overwrite_other);
  AnimateResult result{folder.path(), job.output / "video.mp4"};
  const int count = static_cast<int>(frames.size());
  result.already_done = folder.finished() && is_complete(result, count);
  if (result.already_done) return result;
  for (int frame = 0; frame < count; ++frame)
    write_png(frame_path(folder.path(), frame), frames[static_cast<size_t>(frame)]);
  if (can_write_videos()) write_video(result.video, folder.path(), count, job.options.fps);
  folder.finish();
  return result;
}

}  // namespace

PaintJob video_painting(const AnimateOptions& options, Picture input) {
  PaintJob paint;
  paint.inputs.push_back(std::move(input));
  paint.frames = options.frames;
  paint.cond_aug = options.motion.cond_aug;
  paint.vector = svd_vector(options.motion, options.frames);
  paint.guidance = GuidanceShape::linear;
  paint.sampling = options.sampling;
  return paint;
}

void check_animation(const AnimateJob& job) {
  if (!job.video.empty()) return StageFolder::check(frames_folder(job), manifest_of(job, taken_frames(job)));
  const InputPicture input = animation_input(read_picture(job.picture), job.options.side);
  StageFolder::check(frames_folder(job), manifest_of(job, input.picture));
}

AnimateResult animate(Backend& backend, const AnimateJob& job, Progress& progress) {
  if (!job.video.empty()) return take_video(job);
  const AnimateOptions& options = job.options;
  check_options(options);
  // Refuses what the device cannot do.
  network_type(backend, precision_on(backend, options.sampling.precision), options.sampling.feed_forward);
  InputPicture input = animation_input(read_picture(job.picture), options.side);
  if (input.warning) warn(*input.warning);
  std::optional<VideoNetworks> own;
  VideoNetworks& networks = job.networks
                                ? *job.networks
                                : own.emplace(backend, job.model.path, VideoNetworks::Keep::none, job.unet);
  const VideoCheckpoint& checkpoint = networks.checkpoint();
  if (checkpoint.kind() != VideoCheckpoint::Kind::svd)
    throw Error(fmt::format("{} holds {}, which paints views of one moment: animate needs an SVD model",
                            job.model.path.string(), name_of(checkpoint.kind())));
  StageFolder folder(frames_folder(job), manifest_of(job, input.picture), job.overwrite, job.overwrite_other);
  AnimateResult result{folder.path(), job.output / "video.mp4"};
  result.already_done = folder.finished() && is_complete(result, options.frames);
  if (result.already_done) return result;
  if (folder.finished()) tell_of_missing_pictures(folder.path(), progress);

  PaintJob paint = video_painting(options, std::move(input.picture));
  paint.state_folder = folder.path();
  const PictureSink sink{
      [&](int, int frame) { return fs::exists(frame_path(folder.path(), frame)); },
      [&](int, int frame, const Picture& picture) { write_png(frame_path(folder.path(), frame), picture); }};
  paint_videos(backend, networks, paint, sink, progress);
  if (can_write_videos()) write_video(result.video, folder.path(), options.frames, options.fps);
  folder.finish();
  return result;
}

}  // namespace eg4d
