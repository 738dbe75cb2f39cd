#include "splat/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/config.h"
#include "core/error.h"
#include "io/json_file.h"
#include "io/safetensors.h"
#include "splat/training_state.h"

namespace eg4d {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "eg4d-model";
constexpr int kVersion = 1;

json to_json(const ModelInfo& info, const Gaussians& gaussians) {
  ReconstructOptions options = info.options;
  ConfigSchema schema;
  options.bind(schema);
  return {{"version", kVersion},
          {"gaussians", gaussians.count()},
          {"active_sh_degree", gaussians.active_sh_degree},
          {"deforms", info.deforms},
          {"iterations", info.iterations},
          {"extent", info.extent},
          {"largest_time", info.largest_time},
          {"frame_count", info.frame_count},
          {"width", info.width},
          {"height", info.height},
          {"fov_x", info.fov_x},
          {"camera_radius", info.camera_radius},
          {"provenance", info.provenance},
          {"options", schema.to_toml()}};
}

}  // namespace

int64_t fine_iterations(const ModelInfo& info) {
  return std::max<int64_t>(info.iterations - info.options.schedule.coarse_iterations, 0);
}

void save_model(const std::filesystem::path& path, const ModelInfo& info, const Gaussians& gaussians,
                const DeformationField* field) {
  prepare_model(info, gaussians, field).write(path);
}

PreparedFile prepare_model(const ModelInfo& info, const Gaussians& gaussians, const DeformationField* field) {
  std::vector<HostTensor> tensors;
  auto add = [&](const std::string& name, const Tensor& tensor) {
    tensors.push_back(on_host(name, tensor));
    require_finite(name, tensors.back().values);
  };
  const auto parameters = gaussians.tensors();
  for (size_t i = 0; i < parameters.size(); ++i)
    add(std::string("gaussians.") + Gaussians::kNames[i], *parameters[i]);
  if (field) {
    add("field.grid", field->grid);
    add("field.box", field->box);
    add("field.network", field->network);
  }
  // The dataset's name need not be UTF-8.
  const std::string header = to_json(info, gaussians).dump(-1, ' ', false, json::error_handler_t::replace);
  return prepare_safetensors(std::move(tensors), {{"format", kFormat}, {"info", header}});
}

namespace {

constexpr size_t kMaxLevels = 64;

// Reads a model file: first everything that it says of itself, against its own tensors, then the tensors.
class ModelReader {
 public:
  explicit ModelReader(const std::filesystem::path& path) : path_(path.string()), file_(path) {
    const auto format = file_.metadata().find("format");
    if (format == file_.metadata().end() || format->second != kFormat)
      throw Error(
          fmt::format("'{}' is a safetensors file but not an eg4d model (its metadata says no format '{}')",
                      path_, kFormat));
    read_header();
    check_shapes();
  }

  Model read(Backend& backend) const {
    Model model;
    model.info = info_;
    model.gaussians = Gaussians::empty(backend, count_);
    model.gaussians.active_sh_degree = active_sh_degree_;
    const auto parameters = model.gaussians.tensors();
    for (size_t i = 0; i < parameters.size(); ++i) fill(gaussian_tensor(i), *parameters[i]);
    if (info_.deforms) {
      model.field = DeformationField(backend, info_.options);
      fill("field.grid", model.field.grid);
      fill("field.box", model.field.box);
      fill("field.network", model.field.network);
    }
    return model;
  }

 private:
  Error damaged(const std::string& what) const {
    return Error(fmt::format("the model '{}' is damaged: {}", path_, what));
  }

  static std::string gaussian_tensor(size_t parameter) {
    return std::string("gaussians.") + Gaussians::kNames[parameter];
  }

  int64_t whole(const json& header, const char* key, int64_t most) const {
    const json& value = header.at(key);
    if (!value.is_number_integer() || value < 0 || value > most)
      throw damaged(fmt::format("its '{}' is {}, not a whole number up to {}", key, value.dump(), most));
    return value.get<int64_t>();
  }

  double number(const json& header, const char* key) const {
    const json& value = header.at(key);
    if (!value.is_number() || !(value.get<double>() >= 0) || !std::isfinite(value.get<double>()))
      throw damaged(fmt::format("its '{}' is {}, not a number from 0 on", key, value.dump()));
    return value.get<double>();
  }

  void read_header() {
    constexpr int kMost = std::numeric_limits<int>::max();
    const auto text = file_.metadata().find("info");
    if (text == file_.metadata().end()) throw damaged("it has no header");
    const json header = parse_json(text->second, fmt::format("the header of the model '{}'", path_));
    try {
      if (whole(header, "version", kMost) > kVersion)
        throw Error(
            fmt::format("the model '{}' was written by a later version of eg4d; update the program", path_));
      active_sh_degree_ = static_cast<int>(whole(header, "active_sh_degree", 3));
      info_.deforms = header.at("deforms");
      info_.iterations = whole(header, "iterations", std::numeric_limits<int64_t>::max());
      info_.extent = number(header, "extent");
      info_.largest_time = number(header, "largest_time");
      info_.frame_count = static_cast<int>(whole(header, "frame_count", kMost));
      info_.width = static_cast<int>(whole(header, "width", kMost));
      info_.height = static_cast<int>(whole(header, "height", kMost));
      info_.fov_x = number(header, "fov_x");
      info_.camera_radius = number(header, "camera_radius");
      info_.provenance = header.at("provenance").get<std::map<std::string, std::string>>();
      ConfigSchema schema;
      info_.options.bind(schema);
      schema.apply_toml(header.at("options").get<std::string>(), path_, {});
    } catch (const json::exception&) {
      throw damaged("its header lacks a part");
    }
    if (info_.largest_time == 0) throw damaged("its 'largest_time' is 0");
  }

  // What the header and the number of Gaussians ask for must be in the file before memory is taken for it.
  void check_shapes() {
    const Shape& positions = file_.at("gaussians.positions").shape;
    if (positions.size() != 2) throw damaged("'gaussians.positions' is not [N,3]");
    count_ = positions[0];
    const auto shapes = Gaussians::shapes(count_);
    for (size_t i = 0; i < shapes.size(); ++i) expect(gaussian_tensor(i), shapes[i]);
    if (!info_.deforms) return;
    const auto& plane = info_.options.hexplane;
    if (plane.levels.size() > kMaxLevels)
      throw damaged(
          fmt::format("its field has {} levels, at most {} are possible", plane.levels.size(), kMaxLevels));
    expect("field.grid",
           {hexplane_layout(plane.channels, plane.resolution, plane.levels, plane.time_resolution).size()});
    expect("field.box", {2, 3});
    expect("field.network", {DeformationField::network_size(info_.options)});
  }

  void expect(const std::string& name, const Shape& shape) const {
    const auto& entry = file_.at(name);
    if (entry.dtype != DType::f32 || entry.shape != shape)
      throw damaged(fmt::format("'{}' is {} {}, expected f32 {}", name, name_of(entry.dtype),
                                to_string(entry.shape), to_string(shape)));
  }

  void fill(const std::string& name, Tensor& tensor) const {
    const auto& entry = file_.at(name);
    for (const float value : file_.floats(name))
      if (!std::isfinite(value)) throw damaged(fmt::format("'{}' holds NaN or infinity", name));
    tensor.copy_from_host(entry.data, entry.bytes);
  }

  std::string path_;
  SafetensorsFile file_;
  ModelInfo info_;
  int active_sh_degree_ = 0;
  int64_t count_ = 0;  // Gaussians
};

}  // namespace

Model load_model(Backend& backend, const std::filesystem::path& path) {
  return ModelReader(path).read(backend);
}

}  // namespace eg4d
