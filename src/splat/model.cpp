#include "splat/model.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/config.h"
#include "core/error.h"
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

void save_model(const std::filesystem::path& path, const ModelInfo& info, const Gaussians& gaussians,
                const DeformationField* field) {
  std::vector<std::vector<float>> host;
  std::vector<SafetensorsTensor> tensors;
  host.reserve(9);
  auto add = [&](const std::string& name, const Tensor& tensor) {
    host.push_back(tensor.to_host());
    require_finite(name, host.back());
    tensors.push_back({name, DType::f32, tensor.shape(), host.back().data()});
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
  write_safetensors(path, tensors, {{"format", kFormat}, {"info", header}});
}

Model load_model(Backend& backend, const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  const auto format = file.metadata().find("format");
  if (format == file.metadata().end() || format->second != kFormat)
    throw Error(
        fmt::format("'{}' is a safetensors file but not an eg4d model (its metadata says no format '{}')",
                    path.string(), kFormat));
  const auto damaged = [&](const std::string& what) {
    return Error(fmt::format("the model '{}' is damaged: {}", path.string(), what));
  };
  Model model;
  ModelInfo& info = model.info;
  int active_sh_degree = 0;
  try {
    const json header = json::parse(file.metadata().at("info"));
    if (header.at("version").get<int>() > kVersion)
      throw Error(fmt::format("the model '{}' was written by a later version of eg4d; update the program",
                              path.string()));
    active_sh_degree = header.at("active_sh_degree");
    info.deforms = header.at("deforms");
    info.iterations = header.at("iterations");
    info.extent = header.at("extent");
    info.largest_time = header.at("largest_time");
    info.frame_count = header.at("frame_count");
    info.width = header.at("width");
    info.height = header.at("height");
    info.fov_x = header.at("fov_x");
    info.camera_radius = header.at("camera_radius");
    info.provenance = header.at("provenance").get<std::map<std::string, std::string>>();
    ConfigSchema schema;
    info.options.bind(schema);
    schema.apply_toml(header.at("options").get<std::string>(), path.string(), {});
  } catch (const json::exception& error) {
    throw damaged("its header lacks a part");
  } catch (const std::out_of_range&) {
    throw damaged("it has no header");
  }
  if (active_sh_degree < 0 || active_sh_degree > 3) throw damaged("its SH degree is not 0 to 3");

  auto fill = [&](const std::string& name, Tensor& tensor) {
    const auto& entry = file.at(name);
    if (entry.dtype != DType::f32 || entry.shape != tensor.shape())
      throw damaged(fmt::format("'{}' has shape {}, expected {}", name, to_string(entry.shape),
                                to_string(tensor.shape())));
    for (float value : file.floats(name))
      if (!std::isfinite(value)) throw damaged(fmt::format("'{}' holds NaN or infinity", name));
    tensor.copy_from_host(entry.data, entry.bytes);
  };
  const Shape& positions = file.at("gaussians.positions").shape;
  if (positions.size() != 2) throw damaged("'gaussians.positions' is not [N,3]");
  model.gaussians = Gaussians::empty(backend, positions[0]);
  model.gaussians.active_sh_degree = active_sh_degree;
  const auto parameters = model.gaussians.tensors();
  for (size_t i = 0; i < parameters.size(); ++i)
    fill(std::string("gaussians.") + Gaussians::kNames[i], *parameters[i]);
  if (info.deforms) {
    // The stated sizes must be those of the stored tensor before memory is taken for them.
    const auto& plane = info.options.hexplane;
    const auto layout =
        hexplane_layout(plane.channels, plane.resolution, plane.levels, plane.time_resolution);
    if (file.at("field.grid").shape != Shape{layout.size()})
      throw damaged("'field.grid' does not fit its header");
    model.field = DeformationField(backend, info.options);
    fill("field.grid", model.field.grid);
    fill("field.box", model.field.box);
    fill("field.network", model.field.network);
  }
  return model;
}

}  // namespace eg4d
