#include "pipeline/multiview.h"

#include <fmt/format.h>

#include <optional>

#include "core/error.h"
#include "core/log.h"
#include "io/sha256.h"
#include "models/matting_model.h"
#include "picture/alpha_matting.h"
#include "picture/input_picture.h"
#include "pipeline/dataset_interpolation.h"
#include "pipeline/stage_folder.h"
#include "pipeline/video_painter.h"
#include "scene/dataset_writer.h"
#include "scene/frame_source.h"

namespace eg4d {
namespace {

// The object before nothing: frames that are transparent already say where it is.
Picture cut_out_frame(const Picture& frame, std::unique_ptr<Matting>& matting, Backend& backend,
                      const MultiviewJob& job) {
  if (frame.channels == 4) return frame;
  if (!matting)
    matting =
        require_matting(backend, job.options.matting, job.models_folder,
                        exact_network_type(backend, precision_on(backend, job.options.sampling.precision)));
  const Picture rgb = fitted_for_cutting(compose_on_background(frame, 255));
  return cut_out(rgb, matting->matte(rgb), job.options.alpha_matting);
}

PictureBox object_box(const Picture& cut_out) {
  if (const auto box = visible_box(cut_out)) return *box;
  throw Error(
      "a frame is wholly transparent: there is no object to recentre; leave the frame out or give --recentre "
      "none");
}

// Around the object in all frames. A frame without the object says nothing.
PictureBox box_of_video(const std::vector<Picture>& cut_outs) {
  std::optional<PictureBox> all;
  for (const Picture& frame : cut_outs) {
    const Picture& first = cut_outs.front();
    if (frame.width != first.width || frame.height != first.height)
      throw Error(fmt::format(
          "a frame has {}×{} pixels, the first one {}×{}: --recentre video needs frames of one size",
          frame.width, frame.height, first.width, first.height));
    if (const auto box = visible_box(frame)) all = all ? united(*all, *box) : *box;
  }
  if (!all) throw Error("all frames are wholly transparent: there is no object to recentre");
  return *all;
}

std::vector<Picture> cut_out_inputs(Backend& backend, const MultiviewJob& job) {
  const MultiviewOptions& options = job.options;
  std::unique_ptr<Matting> matting;  // when a frame first needs it
  std::optional<double> ratio;
  if (options.image_frame_ratio > 0) ratio = options.image_frame_ratio;
  auto frames = read_frames(job.video, options.max_frames, [&](const Picture& frame) {
    Picture cut_out = cut_out_frame(frame, matting, backend, job);
    if (options.recentre == Recentre::video) return cut_out;
    const PictureBox box =
        options.recentre == Recentre::object ? object_box(cut_out) : PictureBox::whole(cut_out);
    return recentred_input(cut_out, box, ratio, options.side);
  });
  if (options.recentre == Recentre::video) {
    const PictureBox box = box_of_video(frames);
    for (Picture& frame : frames) frame = recentred_input(frame, box, ratio, options.side);
  }
  return frames;
}

std::vector<Picture> read_inputs(Backend& backend, const MultiviewJob& job) {
  const MultiviewOptions& options = job.options;
  if (!options.keep_bg) return cut_out_inputs(backend, job);
  std::optional<std::string> warning;
  auto inputs = read_frames(job.video, options.max_frames, [&](const Picture& frame) {
    InputPicture input = multiview_input(frame, options.side);
    if (input.warning) warning = input.warning;
    return std::move(input.picture);
  });
  if (warning) warn(*warning);
  return inputs;
}

std::filesystem::path views_folder(const MultiviewJob& job) {
  return job.output / "multiviews";
}

// The settings that the painted views depend on.
struct Painting {
  MultiviewOptions options = {};
  void bind(ConfigSchema& schema) { options.bind_painting(schema); }
};

StageFolder::Manifest manifest_of(const MultiviewJob& job, const std::vector<Picture>& inputs) {
  Sha256 hash;
  for (const Picture& input : inputs) hash.update(input.data.data(), input.data.size());
  return {"multiview", settings_of(Painting{job.options}),
          fmt::format("{} frames {}", inputs.size(), hash.hex()), model_identity(job.model.path)};
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

void check_views(const MultiviewJob& job) {
  StageFolder::Manifest manifest = manifest_of(job, {});
  manifest.input.clear();
  StageFolder::check(views_folder(job), manifest);
}

MultiviewResult multiview(Backend& backend, const MultiviewJob& job, Progress& progress) {
  const MultiviewOptions& options = job.options;
  check_options(options);
  // Refuses what the device cannot do.
  network_type(backend, precision_on(backend, options.sampling.precision), options.sampling.feed_forward);
  std::optional<VideoNetworks> own;
  VideoNetworks& networks = job.networks ? *job.networks : own.emplace(backend, job.model.path);
  const VideoCheckpoint& checkpoint = networks.checkpoint();
  if (checkpoint.kind() == VideoCheckpoint::Kind::svd)
    throw Error(
        fmt::format("{} holds SVD, which animates: multiview needs an SV3D model", job.model.path.string()));
  PaintJob paint = views_painting(checkpoint.kind(), options, read_inputs(backend, job));
  const int frames = static_cast<int>(paint.inputs.size());
  if (options.interpolate_times > 1 && frames < 2)
    throw UsageError("interpolate_times needs a video of two frames or more");
  const StageFolder::Manifest manifest = manifest_of(job, paint.inputs);
  StageFolder folder(views_folder(job), manifest, job.overwrite, job.overwrite_other);
  const OrbitDataset dataset{frames, options.views, options.elevation};
  DatasetWriter writer(folder.path(), dataset);
  const bool painted_before = folder.finished() && writer.is_complete();
  if (!painted_before) {
    if (folder.finished()) tell_of_missing_pictures(folder.path(), progress);
    paint.state_folder = folder.path();
    const PictureSink sink{
        [&](int video, int frame) { return writer.has(video, frame); },
        [&](int video, int frame, const Picture& picture) { writer.write(video, frame, picture); }};
    paint_videos(backend, networks, paint, sink, progress);
    writer.finish(options.fps);
    folder.finish();
  }
  const bool interpolated_before = interpolate_multiviews(job.output, dataset, options, folder.fingerprint(),
                                                          job.overwrite || job.overwrite_other, progress);
  return {multiview_dataset(job.output, options), frames, painted_before && interpolated_before};
}

}  // namespace eg4d
