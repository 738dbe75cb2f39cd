#include "pipeline/multiview.h"

#include <fmt/format.h>

#include <optional>

#include "core/error.h"
#include "core/log.h"
#include "core/sha256.h"
#include "pipeline/matting_model.h"
#include "pipeline/stage_folder.h"
#include "pipeline/video_painter.h"
#include "scene/alpha_matting.h"
#include "scene/dataset_writer.h"
#include "scene/frame_interpolation.h"
#include "scene/frame_source.h"
#include "scene/input_picture.h"
#include "scene/picture_resize.h"

namespace eg4d {
namespace {

// The object before nothing: frames that are transparent already say where it is.
Picture cut_out_frame(const Picture& frame, std::unique_ptr<Matting>& matting, Backend& backend,
                      const MultiviewJob& job) {
  constexpr int kLargestSide = 768;
  if (frame.channels == 4) return frame;
  if (!matting) matting = require_matting(backend, job.options.matting, job.models_folder);
  const Picture rgb = thumbnail(compose_on_background(frame, 255), kLargestSide, kLargestSide);
  return cut_out(rgb, matting->matte(rgb), job.options.alpha_matting);
}

std::vector<Picture> read_inputs(Backend& backend, const MultiviewJob& job) {
  std::optional<std::string> warning;
  std::unique_ptr<Matting> matting;  // when a frame first needs it
  const MultiviewOptions& options = job.options;
  std::optional<double> ratio;
  if (options.image_frame_ratio > 0) ratio = options.image_frame_ratio;
  auto inputs = read_frames(job.video, options.max_frames, [&](const Picture& frame) {
    InputPicture input =
        options.keep_bg ? multiview_input(frame, options.side)
                        : recentred_input(cut_out_frame(frame, matting, backend, job), ratio, options.side);
    if (input.warning) warning = input.warning;
    return std::move(input.picture);
  });
  if (warning) warn(*warning);
  return inputs;
}

StageFolder::Manifest manifest_of(const MultiviewJob& job, const std::vector<Picture>& inputs) {
  Sha256 hash;
  for (const Picture& input : inputs) hash.update(input.data.data(), input.data.size());
  return {"multiview", settings_of(job.options), fmt::format("{} frames {}", inputs.size(), hash.hex()),
          model_identity(job.model.path)};
}

void check_options(const MultiviewOptions& options) {
  if (options.side % 64 != 0)
    throw UsageError(fmt::format("side is {}: it must be a multiple of 64", options.side));
  if (options.interpolate > 1) require_frame_interpolation();
}

std::vector<float> condition_vector(VideoCheckpoint::Kind kind, const MultiviewOptions& options) {
  if (kind == VideoCheckpoint::Kind::sv3d_p)
    return sv3d_p_vector(options.cond_aug, sv3d_orbit(options.views, options.elevation));
  if (options.elevation != 0)
    warn("sv3d_u is not told an elevation: the views will be where it thinks right; sv3d_p is");
  return sv3d_u_vector(options.cond_aug, options.views);
}

}  // namespace

PaintJob views_painting(VideoCheckpoint::Kind kind, const MultiviewOptions& options,
                        std::vector<Picture> inputs) {
  PaintJob paint;
  paint.inputs = std::move(inputs);
  paint.frames = options.views;
  paint.cond_aug = options.cond_aug;
  paint.vector = condition_vector(kind, options);
  paint.guidance = GuidanceShape::triangle;
  paint.sampling = options.sampling;
  if (options.injection) paint.injection = options.injection_options;
  paint.same_noise = options.same_noise;
  paint.last_is_input = true;
  return paint;
}

MultiviewResult multiview(Backend& backend, const MultiviewJob& job, Progress& progress) {
  const MultiviewOptions& options = job.options;
  check_options(options);
  std::optional<VideoNetworks> own;
  VideoNetworks& networks = job.networks ? *job.networks : own.emplace(backend, job.model.path);
  const VideoCheckpoint& checkpoint = networks.checkpoint();
  if (checkpoint.kind() == VideoCheckpoint::Kind::svd)
    throw Error(
        fmt::format("{} holds SVD, which animates: multiview needs an SV3D model", job.model.path.string()));
  PaintJob paint = views_painting(checkpoint.kind(), options, read_inputs(backend, job));
  StageFolder folder(job.output / "multiviews", manifest_of(job, paint.inputs), job.overwrite);
  MultiviewResult result{folder.path(), static_cast<int>(paint.inputs.size())};
  const OrbitDataset dataset{result.frames, options.views, options.elevation};
  DatasetWriter writer(folder.path(), dataset);
  result.already_done = folder.finished() && writer.is_complete();
  if (result.already_done) return result;
  if (folder.finished()) tell_of_missing_pictures(folder.path(), progress);

  paint.state_folder = folder.path();
  const PictureSink sink{
      [&](int video, int frame) { return writer.has(video, frame); },
      [&](int video, int frame, const Picture& picture) { writer.write(video, frame, picture); }};
  paint_videos(backend, networks, paint, sink, progress);
  writer.finish(options.fps);
  if (options.interpolate > 1)
    interpolate_dataset(folder.path(), job.output / fmt::format("multiviews_x{}", options.interpolate),
                        dataset, options.interpolate, options.fps);
  folder.finish();
  return result;
}

}  // namespace eg4d
