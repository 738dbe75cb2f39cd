#include "scene/dataset_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/folder.h"
#include "io/video.h"
#include "scene/camera.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSplits[] = {"train", "test", "val"};
constexpr const char* kPreviews[] = {"4d.mp4", "back.mp4"};

std::string transforms_name(const std::string& split) {
  return "transforms_" + split + ".json";
}
std::string time_name(int time) {
  return fmt::format("{:06}", time);
}
std::string view_name(int view) {
  return fmt::format("{:08}", view + 1);
}
std::string images_of(int view) {
  return fmt::format("views/{}/images", view_name(view));
}

// A link, or a copy where the file system has no links. What is there under the name is replaced.
void link_file(const fs::path& target, const fs::path& link) {
  std::error_code error;
  fs::remove(link, error);
  fs::create_symlink(target, link, error);
  if (error) fs::copy_file(link.parent_path() / target, link, fs::copy_options::overwrite_existing, error);
  if (error)
    throw Error(fmt::format("cannot link {} to {}: {}", link.string(), target.string(), error.message()));
}

nlohmann::json matrix_rows(const Matrix4& matrix) {
  nlohmann::json rows = nlohmann::json::array();
  for (int row = 0; row < 4; ++row)
    rows.push_back({matrix(row, 0), matrix(row, 1), matrix(row, 2), matrix(row, 3)});
  return rows;
}

}  // namespace

DatasetWriter::DatasetWriter(fs::path folder, const OrbitDataset& dataset)
    : folder_(std::move(folder)), dataset_(dataset) {
  if (dataset.times < 1 || dataset.views < 2)
    throw UsageError(
        fmt::format("a dataset of {} frames and {} views: at least 1 frame and 2 views are needed",
                    dataset.times, dataset.views));
}

fs::path DatasetWriter::picture_path(int time, int view) const {
  return folder_ / time_name(time) / (view_name(view) + ".png");
}

bool DatasetWriter::has(int time, int view) const {
  return fs::is_regular_file(picture_path(time, view));
}

void DatasetWriter::write(int time, int view, const Picture& rgb) {
  const fs::path path = picture_path(time, view);
  make_folder(path.parent_path());
  write_png(path, rgb);
}

void DatasetWriter::finish(double preview_fps) const {
  PictureSize first;
  for (int time = 0; time < dataset_.times; ++time) {
    for (int view = 0; view < dataset_.views; ++view) {
      const PictureSize size = picture_size(picture_path(time, view));
      if (time == 0 && view == 0) first = size;
      if (!(size == first))
        throw Error(fmt::format(
            "{} has {}×{} pixels, the first picture {}×{}: all must be alike; remove it and "
            "run the stage again",
            picture_path(time, view).string(), size.width, size.height, first.width, first.height));
    }
  }
  write_links();
  if (can_write_videos()) write_previews(preview_fps);
  write_transforms();  // last: with them the dataset is complete
}

bool DatasetWriter::is_complete() const {
  for (int view = 0; view < dataset_.views; ++view)
    for (int time = 0; time < dataset_.times; ++time)
      if (!has(time, view) || !fs::exists(link_path(time, view))) return false;
  const auto is_there = [&](const char* file) { return fs::is_regular_file(folder_ / file); };
  return std::all_of(std::begin(kSplits), std::end(kSplits),
                     [&](const std::string& split) { return is_there(transforms_name(split).c_str()); }) &&
         (std::all_of(std::begin(kPreviews), std::end(kPreviews), is_there) || !can_write_videos());
}

fs::path DatasetWriter::link_path(int time, int view) const {
  return folder_ / images_of(view) / (time_name(time) + ".png");
}

void DatasetWriter::write_links() const {
  for (int view = 0; view < dataset_.views; ++view) {
    make_folder(folder_ / images_of(view));
    for (int time = 0; time < dataset_.times; ++time) {
      const fs::path target = fs::path("../../..") / time_name(time) / (view_name(view) + ".png");
      link_file(target, link_path(time, view));
    }
  }
}

void DatasetWriter::write_transforms() const {
  for (const std::string split : kSplits) {
    nlohmann::ordered_json frames = nlohmann::ordered_json::array();
    const int first = split == "train" ? 1 : 0, last = split == "train" ? dataset_.views : 1;
    for (int view = first; view < last; ++view) {
      const Matrix4 pose =
          orbit_camera_to_world(360.0 * view / dataset_.views, dataset_.elevation, kOrbitRadius);
      for (int time = 0; time < dataset_.times; ++time) {
        frames.push_back({{"file_path", images_of(view) + "/" + time_name(time)},
                          {"time", dataset_.times > 1 ? time / (dataset_.times - 1.0) : 0.0},
                          {"time_index", time},
                          {"view_index", view},
                          {"transform_matrix", matrix_rows(pose)}});
      }
    }
    const nlohmann::ordered_json transforms = {{"camera_angle_x", kOrbitFovX}, {"frames", std::move(frames)}};
    write_file_atomically(folder_ / transforms_name(split), transforms.dump(1) + "\n");
  }
}

void DatasetWriter::write_previews(double fps) const {
  const Picture first = read_picture(picture_path(0, 0));
  VideoWriter together(folder_ / kPreviews[0], first.width, first.height, {.fps = fps});
  VideoWriter back(folder_ / kPreviews[1], first.width, first.height, {.fps = fps});
  constexpr int rounds = 5;  // through all times
  for (int i = 0; i < rounds * dataset_.times; ++i) {
    const int time = i % dataset_.times;
    together.add(read_picture(picture_path(time, i / 2 % dataset_.views)));
    back.add(read_picture(picture_path(time, dataset_.views / 2)));
  }
  together.finish();
  back.finish();
}

}  // namespace eg4d
