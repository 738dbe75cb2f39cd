#include "pipeline/view_info.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/version.h"
#include "io/folder.h"
#include "io/image.h"
#include "pipeline/open_model.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// File names may be any bytes, JSON is UTF-8.
std::string text_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

double rounded(double value) {
  return std::round(value * 1e6) / 1e6;
}

json describe_frame(const Dataset& dataset, const DatasetFrame& frame, const ModelInfo& info) {
  const VerticalFov rule =
      info.options.data.swapped_fov ? VerticalFov::reference_swapped : VerticalFov::from_aspect;
  const Camera camera = make_camera(frame.camera_to_world, frame.width, frame.height, frame.intrinsics, rule);
  json description = {{"name", frame.file.lexically_relative(dataset.folder()).generic_string()},
                      {"time", rounded(std::clamp(frame.time / info.largest_time, 0.0, 1.0))},
                      {"width", frame.width},
                      {"height", frame.height},
                      {"fov_x", rounded(camera.fov_x)},
                      {"fov_y", rounded(camera.fov_y)}};
  if (frame.view_index >= 0) description["view"] = frame.view_index;
  if (frame.intrinsics.center_x) description["center_x"] = rounded(*frame.intrinsics.center_x);
  if (frame.intrinsics.center_y) description["center_y"] = rounded(*frame.intrinsics.center_y);
  auto& pose = description["pose"] = json::array();
  for (int i = 0; i < 12; ++i) pose.push_back(rounded(frame.camera_to_world(i / 4, i % 4)));
  return description;
}

}  // namespace

std::string viewer_info(const ModelInfo& info, const fs::path& named, const fs::path& place,
                        const ViewerServing& serving) {
  const fs::path plain = fs::absolute(named).lexically_normal();
  json description = {{"title", (plain.has_filename() ? plain : plain.parent_path()).filename().string()},
                      {"model", place.filename().string()},
                      {"stage", place.parent_path().filename().string()},
                      {"program", kVersion},
                      {"iterations", info.iterations},
                      {"frames", info.frame_count},
                      {"served", serving.served},
                      {"token_reads", serving.token_reads},
                      {"live", serving.live}};
  if (const auto preset = info.provenance.find("preset"); preset != info.provenance.end())
    description["preset"] = preset->second;
  return text_of(description);
}

ViewerDataset::ViewerDataset(fs::path model, fs::path given, ModelInfo info)
    : model_(std::move(model)), given_(std::move(given)), info_(std::move(info)) {}

void ViewerDataset::open() {
  if (opened_) return;
  opened_ = true;
  try {
    dataset_.emplace(dataset_of_model(model_, given_));
    cameras_ = describe();
  } catch (const Error& error) {
    dataset_.reset();
    cameras_ = text_of({{"splits", json::array()}, {"note", error.what()}});
  }
}

std::string ViewerDataset::describe() const {
  json splits = json::array();
  for (const std::string& name : dataset_->split_names()) {
    json frames = json::array();
    for (const DatasetFrame& frame : dataset_->read_split(name).frames)
      frames.push_back(describe_frame(*dataset_, frame, info_));
    splits.push_back({{"name", name}, {"frames", std::move(frames)}});
  }
  return text_of({{"splits", std::move(splits)}});
}

const std::string& ViewerDataset::cameras() {
  open();
  return cameras_;
}

std::optional<std::string> ViewerDataset::picture(const std::string& split, size_t index) {
  open();
  if (!dataset_ || !dataset_->has_split(split)) return {};
  const DatasetSplit& frames = dataset_->read_split(split);
  if (index >= frames.frames.size()) return {};
  const fs::path& file = frames.frames[index].file;
  if (!lies_in(file, dataset_->folder()))
    throw Error(
        fmt::format("'{}' lies outside of the dataset's folder and is not shown", file.filename().string()));
  const uint8_t background = info_.options.data.background == Background::white ? 255 : 0;
  const std::vector<uint8_t> png = encode_png(compose_on_background(read_picture(file), background));
  return std::string(png.begin(), png.end());
}

}  // namespace eg4d
