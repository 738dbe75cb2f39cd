#include "pipeline/views.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <set>

#include "core/threads.h"
#include "io/image.h"

namespace eg4d {

TrainingViews load_views(Backend& backend, const Dataset& dataset, const DatasetSplit& split,
                         const ReconstructOptions& options, double largest_time) {
  const uint8_t background = options.data.background == Background::white ? 255 : 0;
  const VerticalFov rule =
      options.data.swapped_fov ? VerticalFov::reference_swapped : VerticalFov::from_aspect;
  TrainingViews views(split.frames.size());
  // Decoded in parallel, a block at a time, so that only a block of pictures is in host memory twice.
  constexpr size_t kBlock = 64;
  std::vector<Picture> pictures(kBlock);
  std::vector<std::exception_ptr> failures(kBlock);
  for (size_t begin = 0; begin < views.size(); begin += kBlock) {
    const size_t count = std::min(kBlock, views.size() - begin);
    parallel_for(static_cast<int64_t>(count), 1, [&](int64_t i, int64_t) {
      const size_t k = static_cast<size_t>(i);
      try {
        pictures[k] = compose_on_background(read_picture(split.frames[begin + k].file), background);
      } catch (...) {
        failures[k] = std::current_exception();
      }
    });
    for (size_t k = 0; k < count; ++k) {
      if (failures[k]) std::rethrow_exception(failures[k]);
      const DatasetFrame& frame = split.frames[begin + k];
      const Picture& picture = pictures[k];
      TrainingView& view = views[begin + k];
      view.camera = make_camera(frame.camera_to_world, picture.width, picture.height, frame.intrinsics, rule);
      view.time = static_cast<float>(std::min(frame.time / largest_time, 1.0));
      view.picture = Tensor::from_host<uint8_t>(backend, {picture.height, picture.width, 3}, picture.data);
      view.name = frame.file.lexically_relative(dataset.folder()).generic_string();
    }
  }
  return views;
}

void describe_training(ModelInfo& info, const TrainingViews& views, double largest_time) {
  std::vector<Camera> cameras;
  std::set<float> times;
  info.camera_radius = 0;
  for (const TrainingView& view : views) {
    cameras.push_back(view.camera);
    times.insert(view.time);
    const float* c = view.camera.center;
    info.camera_radius +=
        std::sqrt(c[0] * c[0] + c[1] * c[1] + c[2] * c[2]) / static_cast<double>(views.size());
  }
  info.extent = cameras_extent(cameras);
  info.largest_time = largest_time;
  info.frame_count = static_cast<int>(times.size());
  info.width = cameras.front().width;
  info.height = cameras.front().height;
  info.fov_x = cameras.front().fov_x;
}

}  // namespace eg4d
