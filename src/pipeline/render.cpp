#include "pipeline/render.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "backend/backend.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "pipeline/frame_output.h"
#include "pipeline/frame_pictures.h"
#include "pipeline/open_model.h"
#include "pipeline/pictures.h"
#include "pipeline/shots.h"
#include "splat/evaluation.h"
#include "splat/playback.h"

namespace eg4d {
namespace {

// As of a picture that is read (PictureLimits).
constexpr int kMostSide = 16384;

Picture truth_picture(const Shot& shot, const ReconstructOptions& options) {
  return compose_on_background(read_picture(shot.truth),
                               options.data.background == Background::white ? 255 : 0);
}

}  // namespace

RenderResult render_model(Backend& backend, const RenderJob& job, Progress& progress) {
  const Model model = open_model(backend, job.model, job.choice);
  ReconstructOptions options = model.info.options;
  const bool transparent = job.background == RenderBackground::transparent;
  // Colours on black are what Gaussians give to a pixel and nothing else.
  if (transparent || job.background == RenderBackground::black) options.data.background = Background::black;
  if (job.background == RenderBackground::white) options.data.background = Background::white;
  std::vector<Shot> shots = make_shots(job, model.info);
  const bool beside = job.truth && !job.reference_folders;
  RenderResult result;
  result.frames = static_cast<int>(shots.size());
  result.width = shots.front().camera.width * (beside ? 2 : 1);
  result.height = shots.front().camera.height;
  for (Shot& shot : shots) {
    Camera& camera = shot.camera;
    const int64_t side = int64_t{std::max(camera.width, camera.height)} * job.supersample;
    if (side > kMostSide)
      throw UsageError(fmt::format("{}x{} pixels, each made of {} across, are more than {} a side",
                                   camera.width, camera.height, job.supersample, kMostSide));
    camera = camera.resized(camera.width * job.supersample, camera.height * job.supersample);
  }
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
    Picture rendered = job.depth     ? depth_picture(view, range, transparent)
                       : job.normals ? normal_picture(view, shot.camera, transparent)
                       : transparent ? transparent_picture(view)
                                     : to_picture(view.image);
    const size_t bytes = rendered.data.size() * (job.truth ? 2 : 1);
    const auto truth = [&shot, &options] { return truth_picture(shot, options); };
    const bool apart = job.reference_folders && !job.split.empty();
    output.add(
        bytes,
        [rendered = std::move(rendered), factor = job.supersample, beside, truth] {
          Picture picture = box_average(rendered, factor);
          return beside ? side_by_side(picture, truth()) : picture;
        },
        apart ? std::function<Picture()>(truth) : nullptr);
    if (last_use[shot.time] == i) playback.forget(shot.time);
    progress.update(static_cast<int64_t>(i) + 1);
  }
  output.finish(result);
  return result;
}

}  // namespace eg4d
