#include "pipeline/views.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <set>

#include "core/error.h"
#include "core/threads.h"
#include "io/image.h"
#include "picture/picture_resize.h"

namespace eg4d {

namespace {

std::vector<uint8_t> as_rgba(const Picture& picture) {
  const auto channels = static_cast<size_t>(picture.channels);
  const bool has_alpha = channels == 2 || channels == 4, has_color = channels >= 3;
  const size_t pixels = static_cast<size_t>(picture.width) * static_cast<size_t>(picture.height);
  std::vector<uint8_t> rgba(4 * pixels);
  for (size_t i = 0; i < pixels; ++i) {
    const uint8_t* from = picture.data.data() + i * channels;
    for (size_t c = 0; c < 3; ++c) rgba[4 * i + c] = from[has_color ? c : 0];
    rgba[4 * i + 3] = has_alpha ? from[channels - 1] : 255;
  }
  return rgba;
}

bool is_transparent(const TrainingView& view) {
  for (size_t i = 3; i < view.rgba.size(); i += 4)
    if (view.rgba[i] < 255) return true;
  return false;
}

TrainingViews load(Backend& backend, const Dataset& dataset, const DatasetSplit& split,
                   const ReconstructOptions& options, double largest_time, bool keep_alpha) {
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
        const DatasetFrame& frame = split.frames[begin + k];
        Picture picture = read_picture(frame.file);
        if (picture.width != frame.width || picture.height != frame.height)
          picture = resize_picture(picture, frame.width, frame.height, ResizeFilter::lanczos);
        if (keep_alpha) views[begin + k].rgba = as_rgba(picture);
        pictures[k] = compose_on_background(picture, background);
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

}  // namespace

TrainingViews load_views(Backend& backend, const Dataset& dataset, const DatasetSplit& split,
                         const ReconstructOptions& options, double largest_time) {
  return load(backend, dataset, split, options, largest_time, false);
}

TrainingViews load_training_views(Backend& backend, const Dataset& dataset, const ReconstructOptions& options,
                                  double largest_time) {
  const auto load_split = [&](const std::string& name) {
    return load(backend, dataset, dataset.read_split(name), options, largest_time,
                options.data.random_background);
  };
  TrainingViews views = load_split("train");
  const std::string& test = options.data.test_split;
  if (options.data.train_on_test && dataset.has_split(test) && !dataset.same_split("train", test))
    for (TrainingView& view : load_split(test)) views.push_back(std::move(view));
  if (options.data.random_background && std::none_of(views.begin(), views.end(), is_transparent))
    throw UsageError(fmt::format(
        "data.random_background needs pictures with transparency, and none in '{}' has a transparent pixel",
        dataset.folder().string()));
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
