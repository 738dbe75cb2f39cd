#include "pipeline/render.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>

#include "backend/backend.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "io/background_writer.h"
#include "io/folder.h"
#include "io/video.h"
#include "pipeline/open_model.h"
#include "pipeline/pictures.h"
#include "scene/dataset.h"
#include "splat/evaluation.h"
#include "splat/playback.h"

namespace eg4d {
namespace {

// One frame to render.
struct Shot {
  Camera camera;
  float time = 0;
  std::filesystem::path truth;  // the dataset's picture, when it has to stand beside
};

double mix(double from, double to, double share) {
  return from + (to - from) * share;
}

// The share of a linear movement that frame `index` of `count` has made: the last frame reaches the end,
// unless the movement is a full turn, whose end is its start.
double share_of(int index, int count, double from, double to) {
  const bool turns = std::fmod(std::abs(to - from), 360) == 0 && to != from;
  const int steps = turns ? count : count - 1;
  return steps > 0 ? static_cast<double>(index) / steps : 0;
}

// Forward and back: 0, …, 1, …, 0 without repeating an end.
double there_and_back(int index, int count) {
  return 2.0 * std::min(index, count - index) / count;
}

std::vector<Shot> orbit_shots(const RenderJob& job, const ModelInfo& info) {
  const OrbitPath& orbit = job.orbit;
  const int width = job.width > 0 ? job.width : info.width;
  const int height = job.height > 0 ? job.height : info.height;
  const double radius = orbit.radius > 0 ? orbit.radius : info.camera_radius;
  Intrinsics intrinsics;
  intrinsics.fov_x = info.fov_x;
  std::vector<Shot> shots(static_cast<size_t>(orbit.frames));
  for (int i = 0; i < orbit.frames; ++i) {
    const double turn = share_of(i, orbit.frames, orbit.azimuth_from, orbit.azimuth_to);
    const double elevation = mix(orbit.elevation_from, orbit.elevation_to, share_of(i, orbit.frames, 0, 1));
    const double passed = orbit.back ? there_and_back(i, orbit.frames) : share_of(i, orbit.frames, 0, 1);
    Shot& shot = shots[static_cast<size_t>(i)];
    shot.camera =
        make_camera(orbit_camera_to_world(mix(orbit.azimuth_from, orbit.azimuth_to, turn), elevation, radius),
                    width, height, intrinsics);
    shot.time = static_cast<float>(mix(orbit.time_from, orbit.time_to, passed));
  }
  return shots;
}

std::vector<Shot> dataset_shots(const RenderJob& job, const ModelInfo& info) {
  const Dataset dataset(dataset_of_model(job.model, job.dataset));
  const VerticalFov rule =
      info.options.data.swapped_fov ? VerticalFov::reference_swapped : VerticalFov::from_aspect;
  std::vector<Shot> shots;
  for (const DatasetFrame& frame : dataset.read_split(job.split).frames) {
    Shot shot;
    shot.camera = make_camera(frame.camera_to_world, frame.width, frame.height, frame.intrinsics, rule);
    shot.time = static_cast<float>(std::clamp(frame.time / info.largest_time, 0.0, 1.0));
    if (job.truth) shot.truth = frame.file;
    shots.push_back(std::move(shot));
  }
  return shots;
}

// A video's frames are encoded in order.
BackgroundWriter::Limits frame_writing(bool video) {
  return video ? BackgroundWriter::Limits{.threads = 1, .jobs = 2, .bytes = size_t{64} << 20}
               : picture_writing();
}

// Where frames go, beside the rendering: a video, or numbered PNGs in a folder.
class FrameOutput {
 public:
  FrameOutput(const RenderJob& job, int width, int height)
      : folder_(job.output), files_(frame_writing(has_extension(job.output, ".mp4"))) {
    if (has_extension(job.output, ".mp4")) {
      VideoOptions options;
      options.fps = job.fps;
      video_ = std::make_unique<VideoWriter>(job.output, width, height, options);
    } else {
      make_folder(folder_);
    }
  }
  // `picture`: what makes the frame, called beside the rendering.
  void add(size_t bytes, std::function<Picture()> picture) {
    if (video_)
      files_.push(bytes, [this, picture = std::move(picture)] { video_->add(picture()); });
    else
      files_.push(bytes, [path = folder_ / fmt::format("frame_{:04}.png", count_),
                          picture = std::move(picture)] { write_png(path, picture()); });
    ++count_;
  }
  // Fills in what became of it.
  void finish(RenderResult& result) {
    files_.finish();
    result.file_width = video_ ? VideoWriter::padded(result.width) : result.width;
    result.file_height = video_ ? VideoWriter::padded(result.height) : result.height;
    if (video_) {
      video_->finish();
    } else {
      result.removed = remove_frames_from(folder_, ".png", count_);
    }
  }

 private:
  std::filesystem::path folder_;
  std::unique_ptr<VideoWriter> video_;
  int count_ = 0;
  BackgroundWriter files_;  // last: it writes to the video
};

// Distances between which depth is shown: the cameras' distances from the middle of the Gaussians, give or
// take the radius around it that holds nearly all of them.
struct DepthRange {
  float near = 0, far = 1;
};

DepthRange depth_range(const std::vector<Shot>& shots, const Gaussians& gaussians) {
  const std::vector<float> positions = gaussians.positions.to_host();
  const auto length = [](const float* p, const double* from) {
    return std::hypot(p[0] - from[0], p[1] - from[1], p[2] - from[2]);
  };
  double center[3] = {};
  const double count = std::max(1.0, static_cast<double>(gaussians.count()));
  for (size_t i = 0; i < positions.size(); ++i) center[i % 3] += positions[i] / count;
  std::vector<double> radii;
  for (size_t i = 0; i + 2 < positions.size(); i += 3) radii.push_back(length(&positions[i], center));
  double radius = 1;
  if (!radii.empty()) {
    const auto most = radii.begin() + static_cast<ptrdiff_t>(radii.size() * 98 / 100);
    std::nth_element(radii.begin(), most, radii.end());
    radius = *most;
  }
  double nearest = INFINITY, farthest = 0;
  for (const Shot& shot : shots) {
    const double distance = length(shot.camera.center, center);
    nearest = std::min(nearest, distance);
    farthest = std::max(farthest, distance);
  }
  return {static_cast<float>(std::max(0.2, nearest - radius)), static_cast<float>(farthest + radius)};
}

// Grey: white at the near end, dark at the far end, black where nothing is. The rasteriser's depth is a sum
// weighted by what each Gaussian covers; divided by the covered share it is a distance.
Picture depth_picture(const Renderer::View& view, DepthRange range) {
  const std::vector<float> depth = view.depth.to_host(), alpha = view.alpha.to_host();
  Picture picture(static_cast<int>(view.depth.dim(1)), static_cast<int>(view.depth.dim(0)), 3);
  for (size_t i = 0; i < depth.size(); ++i) {
    if (alpha[i] < 0.5f) continue;
    const float share = (range.far - depth[i] / alpha[i]) / std::max(range.far - range.near, 1e-6f);
    const float grey = 25 + 230 * share;
    std::fill_n(picture.data.begin() + static_cast<ptrdiff_t>(3 * i), 3,
                static_cast<uint8_t>(grey > 1 ? std::min(grey, 255.0f) : 1));  // NaN becomes 1
  }
  return picture;
}

Picture truth_picture(const Shot& shot, const ReconstructOptions& options) {
  return compose_on_background(read_picture(shot.truth),
                               options.data.background == Background::white ? 255 : 0);
}

}  // namespace

RenderResult render_model(Backend& backend, const RenderJob& job, Progress& progress) {
  const Model model = open_model(backend, job.model, job.choice);
  const ReconstructOptions& options = model.info.options;
  const std::vector<Shot> shots =
      job.split.empty() ? orbit_shots(job, model.info) : dataset_shots(job, model.info);
  RenderResult result;
  result.frames = static_cast<int>(shots.size());
  result.width = shots.front().camera.width * (job.truth ? 2 : 1);
  result.height = shots.front().camera.height;
  const DepthRange range = job.depth ? depth_range(shots, model.gaussians) : DepthRange{};

  std::map<float, size_t> last_use;  // of a time: the frame
  for (size_t i = 0; i < shots.size(); ++i) last_use[shots[i].time] = i;

  FrameOutput output(job, result.width, result.height);
  Playback playback(backend, model.gaussians, model.active_field(), options);
  progress.begin(result.frames, "rendering");
  for (size_t i = 0; i < shots.size(); ++i) {
    if (interrupt_requested())
      throw Interrupted(fmt::format("stopped after {} of {} frames", i, shots.size()));
    const Shot& shot = shots[i];
    playback.turn_to(shot.time, last_use[shot.time] > i);
    const Renderer::View& view = playback.render(shot.camera);
    Picture picture = job.depth ? depth_picture(view, range) : to_picture(view.image);
    const size_t bytes = picture.data.size();
    if (job.truth)
      output.add(2 * bytes, [picture = std::move(picture), &shot, &options] {
        return side_by_side(picture, truth_picture(shot, options));
      });
    else
      output.add(bytes, [picture = std::move(picture)] { return picture; });
    if (last_use[shot.time] == i) playback.forget(shot.time);
    progress.update(static_cast<int64_t>(i) + 1);
  }
  output.finish(result);
  return result;
}

}  // namespace eg4d
