#include "pipeline/info.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/error.h"
#include "formats/compressed_ply.h"
#include "formats/splat_file.h"
#include "formats/spz.h"
#include "io/image.h"
#include "io/json_file.h"
#include "io/mapped_file.h"
#include "io/ply_table.h"
#include "io/ply_writer.h"
#include "io/safetensors.h"
#include "io/torch_checkpoint.h"
#include "io/video.h"
#include "pipeline/open_model.h"
#include "pipeline/python_model.h"
#include "pipeline/reconstruct.h"
#include "scene/dataset.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

bool starts_with(const fs::path& path, std::string_view start) {
  const MappedFile file(path);
  const Bytes bytes = file.bytes();
  return bytes.size() >= start.size() &&
         std::equal(start.begin(), start.end(), bytes.begin(),
                    [](char wanted, std::byte found) { return static_cast<std::byte>(wanted) == found; });
}

// ---------------------------------------------------------------- files

// A header's own JSON object, or its text as it is.
json from_metadata(const std::string& text) {
  if (!text.starts_with('{')) return text;
  try {
    return parse_json<json>(text, "the metadata");
  } catch (const Error&) {
    return text;
  }
}

json describe_safetensors(const fs::path& path) {
  const SafetensorsFile file(path);
  json description = {{"kind", "safetensors"}};
  int64_t numbers = 0;
  json tensors = json::object();
  for (const auto& [name, entry] : file.entries()) {
    tensors[name] = fmt::format("{} {}", name_of(entry.dtype), to_string(entry.shape));
    numbers += element_count(entry.shape);
  }
  for (const auto& [key, text] : file.metadata()) {
    const bool model = key == "format" && text == "eg4d-model";
    description[model ? "kind" : key] = model ? json("model") : from_metadata(text);
  }
  description["parameters"] = numbers;
  description["tensors"] = std::move(tensors);
  return description;
}

// What a file of Gaussians holds.
json describe_splats(const fs::path& path, const splat::SplatFormat& format) {
  const GaussianCloud cloud = splat::read_splat_file(path);
  json description = {{"kind", fmt::format("Gaussians ({})", format.title)},
                      {"gaussians", cloud.count()},
                      {"sh_degree", sh_degree_of(cloud)}};
  if (format.key == std::string_view("spz"))
    description["version"] = splat::spz_version(MappedFile(path).bytes());
  return description;
}

json describe_ply(const fs::path& path) {
  const MappedFile file(path);
  if (splat::is_compressed_ply(file.bytes()))
    return describe_splats(path, splat::splat_format("compressed-ply"));
  const PlyTable table(file.bytes(), path.string());
  json names = json::array();
  for (const PlyTable::Property& property : table.properties()) names.push_back(property.name);
  const bool gaussians =
      table.find("f_dc_0") && table.find("opacity") && table.find("scale_0") && table.find("rot_0");
  return {{"kind", gaussians ? "Gaussians (PLY)" : "points (PLY)"},
          {"vertices", table.rows()},
          {"properties", names}};
}

// "0.2.deformation_net.grid.aabb" -> "f32 [2,3]" for every tensor; single numbers and texts as they are.
void list_torch_values(const TorchValue& value, const std::string& name, json& tensors, json& values) {
  const std::string prefix = name.empty() ? "" : name + ".";
  if (const auto* tensor = value.get_if<TorchTensor>()) {
    tensors[name] = fmt::format("{} {}", name_of(tensor->dtype), to_string(tensor->shape));
  } else if (value.get_if<TorchValue::Dict>()) {
    for (const auto& [key, item] : value.entries()) {
      const auto* text = key.get_if<std::string>();
      const auto* number = key.get_if<int64_t>();
      list_torch_values(item,
                        prefix + (text     ? *text
                                  : number ? std::to_string(*number)
                                           : "?"),
                        tensors, values);
    }
  } else if (value.get_if<TorchValue::List>() || value.get_if<TorchValue::Tuple>()) {
    for (size_t i = 0; i < value.items().size(); ++i) {
      list_torch_values(value.items()[i], prefix + std::to_string(i), tensors, values);
    }
  } else if (const auto* text = value.get_if<std::string>()) {
    values[name] = *text;
  } else if (const auto* integer = value.get_if<int64_t>()) {
    values[name] = *integer;
  } else if (value.get_if<double>() || value.get_if<bool>()) {
    values[name] = value.get_if<bool>() ? json(value.boolean()) : json(value.real());
  }
}

json describe_torch(const fs::path& path) {
  json tensors = json::object(), values = json::object();
  list_torch_values(read_torch_checkpoint(path), "", tensors, values);
  bool has_field = false;
  for (const auto& item : tensors.items())
    has_field |= item.key().find("deformation_net.") != std::string::npos;
  const bool is_state = tensors.contains("deformation_net.grid.aabb");
  json description = {{"kind", is_state    ? "deformation field (Python EG4D)"
                               : has_field ? "checkpoint (Python EG4D)"
                                           : "PyTorch file"}};
  if (has_field && !is_state && values.contains("1")) description["iteration"] = values["1"];
  if (!values.empty()) description["values"] = std::move(values);
  description["tensors"] = std::move(tensors);
  return description;
}

json describe_picture(const fs::path& path) {
  const PictureSize size = picture_size(path);
  return {{"kind", "picture"}, {"width", size.width}, {"height", size.height}, {"channels", size.channels}};
}

json describe_video(const fs::path& path) {
  VideoReader video(path);
  const std::optional<Picture> first = video.next();
  json description = {{"kind", "video"}, {"frames", video.frame_count()}, {"fps", video.fps()}};
  if (first) {
    description["width"] = first->width;
    description["height"] = first->height;
  }
  return description;
}

json describe_file(const fs::path& path) {
  if (starts_with(path, "ply\n") || starts_with(path, "ply\r")) return describe_ply(path);
  if (starts_with(path, "\x89PNG") || starts_with(path, "\xff\xd8\xff") || starts_with(path, "RIFF")) {
    return describe_picture(path);
  }
  if (path.extension() == ".safetensors") return describe_safetensors(path);
  const splat::SplatFormat* format = splat::splat_format_of(path);
  if (format && format->decode) return describe_splats(path, *format);
  if (starts_with(path, "PK")) return describe_torch(path);
  for (const char* extension : {".mp4", ".webm", ".mkv", ".mov", ".avi", ".gif"}) {
    if (path.extension() == extension) return describe_video(path);
  }
  throw Error(
      fmt::format("'{}' is nothing that eg4d knows: no model, checkpoint, file of Gaussians, "
                  "safetensors, picture or video",
                  path.string()));
}

// ---------------------------------------------------------------- folders

json describe_dataset(const fs::path& path) {
  const Dataset dataset(path);
  json splits = json::object();
  for (const std::string& name : dataset.split_names()) {
    const DatasetSplit& split = dataset.read_split(name);
    std::set<double> times;
    std::set<int> views;
    for (const DatasetFrame& frame : split.frames) {
      times.insert(frame.time);
      views.insert(frame.view_index);
    }
    json entry = {{"pictures", split.frames.size()}, {"times", times.size()}};
    if (!views.empty() && *views.begin() >= 0) entry["views"] = views.size();
    if (!split.frames.empty()) {
      entry["width"] = split.frames.front().width;
      entry["height"] = split.frames.front().height;
    }
    splits[name] = std::move(entry);
  }
  json description = {{"kind", "dataset"}, {"splits", splits}};
  const fs::path points = path / "points3d.ply";
  if (fs::exists(points)) description["points3d.ply"] = describe_ply(points)["vertices"];
  return description;
}

bool is_dataset(const fs::path& folder) {
  if (!fs::is_directory(folder)) return false;
  if (is_dataset_folder(folder)) return true;
  return std::any_of(fs::directory_iterator(folder), fs::directory_iterator(),
                     [](const fs::directory_entry& entry) {
                       const std::string name = entry.path().filename().string();
                       return name.starts_with("transforms_") && name.ends_with(".json");
                     });
}

json describe_stage(const fs::path& folder) {
  const json metrics = read_json_if_there<json>(folder / "metrics.json");
  if (metrics.is_object()) {
    json description = {{"state", "finished"}};
    for (const char* key : {"preset", "iterations", "gaussians", "splits", "best"}) {
      if (metrics.contains(key)) description[key] = metrics[key];
    }
    // Earlier versions wrote one where no evaluation had been made.
    if (const json& best = description["best"]; !best.is_object() || best.value("iteration", 0) == 0) {
      description.erase("best");
    }
    return description;
  }
  json description = {{"state", fs::exists(folder / "checkpoint.safetensors")
                                    ? "not finished; the same command continues it"
                                    : "started, no checkpoint yet"}};
  return description;
}

json describe_run(const fs::path& path) {
  json description = {{"kind", "run"}};
  if (is_dataset(path / "multiviews"))
    description["multiviews"] = describe_dataset(path / "multiviews")["splits"];
  for (const char* stage : {"coarse", "refined"}) {
    if (fs::exists(path / stage / "manifest.json")) description[stage] = describe_stage(path / stage);
  }
  const fs::path model = run_model_file(path);
  if (!model.empty()) description["model"] = model.lexically_relative(path).generic_string();
  return description;
}

json describe_python_folder(const fs::path& path) {
  const fs::path folder = python_model_folder(path);
  json description = {{"kind", "model folder (Python EG4D)"}, {"folder", folder.generic_string()}};
  for (const auto& entry :
       std::set<fs::directory_entry>(fs::directory_iterator(folder), fs::directory_iterator())) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".ply" || extension == ".pth") {
      description[entry.path().filename().string()] = describe_file(entry.path());
    }
  }
  return description;
}

json describe(const fs::path& path) {
  if (!fs::exists(path)) throw Error(fmt::format("there is no '{}'", path.string()));
  if (!fs::is_directory(path)) return describe_file(path);
  if (is_dataset(path)) return describe_dataset(path);
  if (fs::exists(path / "coarse" / "manifest.json") || is_dataset(path / "multiviews"))
    return describe_run(path);
  if (fs::exists(path / "manifest.json")) return describe_run(path.parent_path());
  if (is_python_model(path)) return describe_python_folder(path);
  throw Error(fmt::format(
      "the folder '{}' is neither a dataset (no transforms_train.json), nor a run (no coarse/ and no "
      "multiviews/), nor a model folder (no point_cloud.ply)",
      path.string()));
}

// ---------------------------------------------------------------- text

bool is_plain(const json& value) {
  return !value.is_object() && !value.is_array();
}

std::string plain_text(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return fmt::format("{:.6g}", value.get<double>());
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

void append_text(std::string& text, const json& object, size_t indent) {
  size_t width = 0;
  for (const auto& item : object.items()) {
    if (is_plain(item.value())) width = std::max(width, item.key().size());
  }
  for (const auto& item : object.items()) {
    const std::string& key = item.key();
    const json& value = item.value();
    text += std::string(indent, ' ');
    if (value.is_object()) {
      text += key + ":\n";
      append_text(text, value, indent + 2);
    } else if (value.is_array()) {
      text += key + ":";
      for (const json& element : value) text += " " + plain_text(element);
      text += "\n";
    } else if (value.is_string() && value.get_ref<const std::string&>().find('\n') != std::string::npos) {
      std::istringstream lines(value.get<std::string>());
      text += key + ":\n";
      for (std::string line; std::getline(lines, line);) {
        if (!line.empty()) text += std::string(indent + 2, ' ') + line + "\n";
      }
    } else {
      text += fmt::format("{:<{}}  {}\n", key, width, plain_text(value));
    }
  }
}

}  // namespace

std::string describe_as_text(const fs::path& path) {
  std::string text;
  append_text(text, describe(path), 0);
  text.pop_back();
  return text;
}

std::string describe_as_json(const fs::path& path) {
  return describe(path).dump(2, ' ', false, json::error_handler_t::replace);
}

}  // namespace eg4d
