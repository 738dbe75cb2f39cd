#include "pipeline/shots.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

#include "core/error.h"
#include "scene/camera_path.h"
#include "scene/dataset.h"

namespace eg4d {
namespace {

constexpr double kMostPathFrames = 1e6;

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

struct PictureSides {
  int width, height;
};

PictureSides sides_of(const RenderJob& job, const ModelInfo& info) {
  return {job.width > 0 ? job.width : info.width, job.height > 0 ? job.height : info.height};
}

double passed(const OrbitPath& orbit, int index, int count) {
  const double share = orbit.back ? there_and_back(index, count) : share_of(index, count, 0, 1);
  return mix(orbit.time_from, orbit.time_to, share);
}

std::vector<Shot> orbit_shots(const RenderJob& job, const ModelInfo& info) {
  const OrbitPath& orbit = job.orbit;
  const auto [width, height] = sides_of(job, info);
  const double radius = orbit.radius > 0 ? orbit.radius : info.camera_radius;
  Intrinsics intrinsics;
  intrinsics.fov_x = info.fov_x;
  std::vector<Shot> shots(static_cast<size_t>(orbit.frames));
  for (int i = 0; i < orbit.frames; ++i) {
    const double turn = share_of(i, orbit.frames, orbit.azimuth_from, orbit.azimuth_to);
    const double elevation = mix(orbit.elevation_from, orbit.elevation_to, share_of(i, orbit.frames, 0, 1));
    Shot& shot = shots[static_cast<size_t>(i)];
    shot.camera =
        make_camera(orbit_camera_to_world(mix(orbit.azimuth_from, orbit.azimuth_to, turn), elevation, radius),
                    width, height, intrinsics);
    shot.time = static_cast<float>(passed(orbit, i, orbit.frames));
  }
  return shots;
}

// The published orbit: 25 frames each from the left, the front and the right while time runs forward, back
// and forward again.
std::vector<Shot> published_orbit(const RenderJob& job, const ModelInfo& info) {
  constexpr int kFrames = 25;
  Intrinsics intrinsics;
  intrinsics.fov_x = info.fov_x;
  std::vector<Shot> shots;
  for (const double azimuth : {-45.0, 0.0, 45.0})
    for (int i = 0; i < kFrames; ++i) {
      Shot shot;
      shot.camera =
          make_camera(orbit_camera_to_world(azimuth, 0, kOrbitRadius), job.width > 0 ? job.width : 576,
                      job.height > 0 ? job.height : 576, intrinsics);
      const double time = static_cast<double>(i) / (kFrames - 1);
      shot.time = static_cast<float>(azimuth == 0 ? 1 - time : time);
      shots.push_back(std::move(shot));
    }
  return shots;
}

std::vector<Shot> path_shots(const RenderJob& job, const ModelInfo& info) {
  const CameraPath path = read_camera_path(job.path);
  const auto [width, height] = sides_of(job, info);
  const double seconds = path.seconds();
  const double wanted = path.loop && path.keys.size() > 1 ? std::round(seconds * job.fps)
                                                          : std::floor(seconds * job.fps + 1e-6) + 1;
  if (!(wanted <= kMostPathFrames))
    throw Error(fmt::format("'{}' lasts {} seconds, which are {:.0f} frames; at most {:.0f} can be made",
                            job.path.string(), seconds, wanted, kMostPathFrames));
  const int frames = job.path_frames > 0 ? job.path_frames : std::max(1, static_cast<int>(wanted));
  const int steps = path.loop && path.keys.size() > 1 ? frames : frames - 1;
  std::vector<Shot> shots;
  for (int i = 0; i < frames; ++i) {
    const CameraPath::Key key =
        path.at(steps > 0 ? seconds * i / steps : 0, info.camera_radius, info.fov_x * 180 / std::numbers::pi);
    Intrinsics intrinsics;
    intrinsics.fov_x = key.camera.fov * std::numbers::pi / 180;
    Shot shot;
    shot.camera = make_camera(key.camera.camera_to_world(), width, height, intrinsics);
    shot.time = static_cast<float>(key.time ? *key.time : passed(job.orbit, i, frames));
    shots.push_back(std::move(shot));
  }
  return shots;
}

// A dataset's cameras as shots, with what says where they stand in it.
class DatasetShots {
 public:
  DatasetShots(const RenderJob& job, const ModelInfo& info)
      : dataset_(dataset_of_model(job.model, job.dataset)),
        largest_time_(info.largest_time),
        rule_(info.options.data.swapped_fov ? VerticalFov::reference_swapped : VerticalFov::from_aspect) {}

  const Dataset& dataset() const { return dataset_; }
  Shot shot_of(const DatasetFrame& frame) const {
    Shot shot;
    shot.camera = make_camera(frame.camera_to_world, frame.width, frame.height, frame.intrinsics, rule_);
    shot.time = static_cast<float>(std::clamp(frame.time / largest_time_, 0.0, 1.0));
    shot.truth = frame.file;
    return shot;
  }

 private:
  const Dataset dataset_;
  const double largest_time_;
  const VerticalFov rule_;
};

std::vector<Shot> split_shots(const RenderJob& job, const ModelInfo& info) {
  const DatasetShots source(job, info);
  std::vector<Shot> shots;
  for (const DatasetFrame& frame : source.dataset().read_split(job.split).frames)
    shots.push_back(source.shot_of(frame));
  return shots;
}

// The published "video" cameras: all views of all times; each frame takes the next view while time runs
// forward and back.
std::vector<Shot> walk_shots(const RenderJob& job, const ModelInfo& info) {
  const DatasetShots source(job, info);
  const Dataset& dataset = source.dataset();
  std::vector<const DatasetFrame*> all;
  for (const char* name : {"train", "test"})
    if (dataset.has_split(name) && !(std::string(name) == "test" && dataset.same_split("train", "test")))
      for (const DatasetFrame& frame : dataset.read_split(name).frames) all.push_back(&frame);
  if (all.empty())
    throw Error(fmt::format("'{}' has neither transforms_train.json nor transforms_test.json",
                            dataset.folder().string()));
  // Within a time view 0 first, then the others as they stand in the files.
  std::map<double, std::vector<const DatasetFrame*>> times;
  for (const DatasetFrame* frame : all) times[frame->time].push_back(frame);
  std::vector<const std::vector<const DatasetFrame*>*> groups;
  size_t views = 0;
  for (auto& [time, frames] : times) {
    std::stable_partition(frames.begin(), frames.end(),
                          [](const DatasetFrame* frame) { return frame->view_index == 0; });
    views = std::max(views, frames.size());
    groups.push_back(&frames);
  }
  const size_t period = groups.size() > 1 ? 2 * groups.size() - 2 : 1;
  std::vector<Shot> shots;
  for (size_t i = 0; i < 2 * std::max(groups.size(), views); ++i) {
    const size_t step = i % period;
    const auto& frames = *groups[step < groups.size() ? step : period - step];
    shots.push_back(source.shot_of(*frames[i % frames.size()]));
    const Camera& first = shots.front().camera;
    if (shots.back().camera.width != first.width || shots.back().camera.height != first.height)
      throw Error("the pictures of train and test differ in size; their cameras make no one video");
  }
  return shots;
}

}  // namespace

std::vector<Shot> make_shots(const RenderJob& job, const ModelInfo& info) {
  if (!job.split.empty()) return split_shots(job, info);
  if (job.path == "video") return walk_shots(job, info);
  if (job.path == "eg4d") return published_orbit(job, info);
  if (!job.path.empty()) return path_shots(job, info);
  return orbit_shots(job, info);
}

}  // namespace eg4d
