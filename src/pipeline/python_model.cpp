#include "pipeline/python_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "core/log.h"
#include "io/folder.h"
#include "io/torch_checkpoint.h"
#include "scene/camera.h"
#include "splat/gaussian_cloud.h"
#include "splat/reference_format.h"

namespace eg4d {
namespace fs = std::filesystem;
namespace {

constexpr int kPublishedSize = 576, kPublishedFrames = 25;

// N of "iteration_14000", "fine_14000.pth", "best_12000_28.1.pth"; -1 when the name has none.
int64_t iteration_of(const std::string& name) {
  const size_t digits = name.find_first_of("0123456789");
  if (digits == std::string::npos) return -1;
  int64_t number = -1;
  std::from_chars(name.data() + digits, name.data() + name.size(), number);
  return number;
}

ModelInfo published_info() {
  ModelInfo info;
  info.options.schedule.coarse_iterations = 0;  // the numbers in names count the fine stage's
  info.frame_count = kPublishedFrames;
  info.width = info.height = kPublishedSize;
  info.fov_x = kOrbitFovX;
  info.camera_radius = kOrbitRadius;
  info.provenance = {{"program", "EG4D (Python)"}};
  return info;
}

StateDict state_dict(const TorchValue& value) {
  StateDict state;
  for (const auto& [key, tensor] : value.entries()) {
    if (tensor.get_if<TorchTensor>()) state[key.text()] = {tensor.tensor().shape, tensor.tensor().floats()};
  }
  return state;
}

// `state` may be empty: the object stands still.
Model assemble(Backend& backend, ModelInfo info, const GaussianCloud& cloud, const StateDict& state) {
  if (cloud.count() == 0) throw Error("it holds no Gaussians");
  Model model;
  model.info = std::move(info);
  model.info.deforms = !state.empty();
  model.gaussians = from_cloud(backend, cloud);
  if (model.info.deforms) {
    field_options_from_state(state, model.info.options);
    model.field = DeformationField(backend, model.info.options);
    load_field_state(model.field, state);
  }
  return model;
}

// ---------------------------------------------------------------- model folder

Model read_folder(Backend& backend, const fs::path& cloud_file) {
  ModelInfo info = published_info();
  info.iterations =
      std::max<int64_t>(iteration_of(fs::absolute(cloud_file).parent_path().filename().string()), 0);
  const fs::path deformation = cloud_file.parent_path() / "deformation.pth";
  StateDict state;
  if (fs::exists(deformation)) state = state_dict(read_torch_checkpoint(deformation));
  return assemble(backend, std::move(info), read_gaussian_ply(cloud_file), state);
}

// ---------------------------------------------------------------- checkpoint

// The tensors of a checkpoint's tuple are told by their shapes and their order: [N,3] positions, [N,1,3] and
// [N,15,3] SH, [N,3] or [N,2] log-scales, [N,4] quaternions, [N,1] opacity logits; statistics of training
// follow.
GaussianCloud checkpoint_cloud(const std::vector<TorchValue>& values) {
  GaussianCloud cloud;
  int64_t count = -1;
  const auto take = [](std::vector<float>& into, const TorchTensor& from) {
    if (!into.empty()) return false;
    into = from.floats();
    return true;
  };
  for (const TorchValue& value : values) {
    const auto* tensor = value.get_if<TorchTensor>();
    if (!tensor || tensor->shape.size() < 2) continue;
    if (count < 0) count = tensor->shape[0];
    const Shape rest(tensor->shape.begin() + 1, tensor->shape.end());
    if (tensor->shape[0] != count) continue;
    if (rest == Shape{3}) {
      if (!take(cloud.positions, *tensor)) take(cloud.log_scales, *tensor);
    } else if (rest == Shape{1, 3}) {
      take(cloud.sh_dc, *tensor);
    } else if (rest == Shape{15, 3}) {
      take(cloud.sh_rest, *tensor);
    } else if (rest == Shape{4}) {
      take(cloud.quaternions, *tensor);
    } else if (rest == Shape{1}) {
      take(cloud.opacity_logits, *tensor);
    }
  }
  if (cloud.opacity_logits.empty() || cloud.positions.empty() || cloud.sh_dc.empty() ||
      cloud.sh_rest.empty() || cloud.log_scales.empty() || cloud.quaternions.empty()) {
    throw Error(
        "it lacks one of positions [N,3], colours [N,1,3] and [N,15,3], scales [N,3], rotations [N,4], "
        "opacities [N,1]");
  }
  return cloud;
}

Model read_checkpoint(Backend& backend, const fs::path& file) {
  const TorchValue checkpoint = read_torch_checkpoint(file);
  const bool is_pair = (checkpoint.get_if<TorchValue::Tuple>() || checkpoint.get_if<TorchValue::List>()) &&
                       checkpoint.items().size() == 2 && checkpoint.items()[1].get_if<int64_t>();
  if (!is_pair) {
    throw Error(
        "it is no checkpoint of EG4D (those hold the Gaussians and the iteration); a deformation.pth is read "
        "together with the point_cloud.ply beside it: name the folder");
  }
  ModelInfo info = published_info();
  info.iterations = checkpoint.items()[1].integer();
  StateDict state;
  const std::vector<TorchValue>& values = checkpoint.items()[0].items();
  for (const TorchValue& value : values) {
    if (!value.get_if<TorchValue::Dict>() || value.find("param_groups")) continue;
    if (state.empty()) state = state_dict(value);
  }
  // In the coarse stage the deformation is there but not trained and not used.
  if (file.filename().string().starts_with("coarse")) state.clear();
  Model model = assemble(backend, std::move(info), checkpoint_cloud(values), state);
  if (!values.empty() && values[0].get_if<int64_t>()) {
    model.gaussians.active_sh_degree = static_cast<int>(std::clamp<int64_t>(values[0].integer(), 0, 3));
  }
  if (const auto* extent = values.empty() ? nullptr : values.back().get_if<double>())
    model.info.extent = *extent > 0 && std::isfinite(*extent) ? *extent : 0;
  return model;
}

// ---------------------------------------------------------------- writing

void warn_about_differences(const ReconstructOptions& options) {
  std::vector<std::string> differences;
  if (options.deformation.opacity)
    differences.emplace_back("deformation.opacity (it ignores changes of opacity)");
  if (options.deformation.color && options.deformation.color_time == ColorTime::own) {
    differences.emplace_back("deformation.color_time = \"own\" (it takes every colour from time 0)");
  }
  if (options.gaussian.flat) differences.emplace_back("gaussian.flat (its gs2d option)");
  if (!options.deformation.scale) differences.emplace_back("deformation.scale = false (its no_ds option)");
  if (!options.deformation.rotation)
    differences.emplace_back("deformation.rotation = false (its no_dr option)");
  if (options.gaussian.sh_direction == ShDirection::deformed)
    differences.emplace_back("gaussian.sh_direction = \"deformed\" (its convert_SHs_python switched off)");
  if (!differences.empty()) {
    warn(fmt::format("the Python EG4D shows this model differently, since it was trained with {}",
                     fmt::join(differences, ", ")));
  }
}

// Puts the time axis [0,1] of a field with hexplane.full_time_axis into the upper half of a longer one.
void extend_time_axis(StateDict& state) {
  for (auto& [name, tensor] : state) {
    const bool has_time = name.find(".grids.") != std::string::npos &&
                          (name.ends_with(".2") || name.ends_with(".4") || name.ends_with(".5"));
    if (!has_time) continue;
    const auto channels = static_cast<size_t>(tensor.shape[1]), rows = static_cast<size_t>(tensor.shape[2]);
    const auto columns = static_cast<size_t>(tensor.shape[3]);
    std::vector<float> longer(channels * (2 * rows - 1) * columns, 1.0f);
    for (size_t channel = 0; channel < channels; ++channel) {
      std::copy_n(tensor.values.begin() + static_cast<ptrdiff_t>(channel * rows * columns), rows * columns,
                  longer.begin() + static_cast<ptrdiff_t>((channel * (2 * rows - 1) + rows - 1) * columns));
    }
    tensor.values = std::move(longer);
    tensor.shape[2] = 2 * tensor.shape[2] - 1;
  }
}

TorchValue deformation_state(const Model& model) {
  StateDict state = field_state(model.field);
  if (model.info.options.hexplane.full_time_axis) extend_time_axis(state);
  TorchValue::Dict dict;
  for (const auto& [name, tensor] : state) {
    if (!model.info.options.deformation.color && name.find("color_deform") != std::string::npos) continue;
    dict.entries.emplace_back(name, TorchTensor::from(tensor.shape, tensor.values));
  }
  return dict;
}

}  // namespace

fs::path python_model_folder(const fs::path& named, WhichModel which, std::optional<int64_t> iteration) {
  if (fs::is_regular_file(named / "point_cloud.ply")) {
    if (iteration && iteration_of(named.filename().string()) != *iteration)
      throw UsageError(
          fmt::format("'{}' is one model, not that of iteration {}", named.string(), *iteration));
    return named;
  }
  fs::path best = named / "point_cloud" / "iteration_best", latest;
  if (!fs::is_regular_file(best / "point_cloud.ply")) best.clear();
  int64_t most = -1;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(named / "point_cloud", missing)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("iteration_") || !fs::is_regular_file(entry.path() / "point_cloud.ply")) continue;
    if (iteration_of(name) > most) {
      most = iteration_of(name);
      latest = entry.path();
    }
  }
  const auto missing_model = [&](const char* what) {
    return Error(fmt::format("the model folder '{}' of the Python EG4D has no {}", named.string(), what));
  };
  if (best.empty() && latest.empty()) return {};
  if (iteration) {
    const std::string name = fmt::format("point_cloud/iteration_{}", *iteration);
    if (!fs::is_regular_file(named / name / "point_cloud.ply")) throw missing_model(name.c_str());
    return named / name;
  }
  if (which == WhichModel::refined)
    throw missing_model("place for a refined model of its own; --which last takes its latest");
  if (which == WhichModel::best && best.empty()) throw missing_model("point_cloud/iteration_best");
  if (which == WhichModel::last && latest.empty()) throw missing_model("numbered model, only iteration_best");
  return which == WhichModel::last || best.empty() ? latest : best;
}

bool is_python_model(const fs::path& named) {
  if (fs::is_directory(named)) return !python_model_folder(named).empty();
  return named.extension() == ".pth" || named.extension() == ".ply";
}

Model read_python_model(Backend& backend, const fs::path& named) {
  try {
    if (fs::is_directory(named)) return read_folder(backend, python_model_folder(named) / "point_cloud.ply");
    if (named.extension() == ".ply") return read_folder(backend, named);
    return read_checkpoint(backend, named);
  } catch (const Error& error) {
    const std::string sentence = error.what();
    if (sentence.find(named.string()) != std::string::npos) throw;
    throw Error(fmt::format("cannot read the model '{}': {}", named.string(), sentence));
  }
}

std::vector<fs::path> write_python_model(const Model& model, const fs::path& folder) {
  warn_about_differences(model.info.options);
  const fs::path target = folder / "point_cloud" / fmt::format("iteration_{}", model.info.iterations);
  make_folder(target);
  std::vector<fs::path> files = {target / "point_cloud.ply"};
  write_gaussian_ply(files[0], to_cloud(model.gaussians));
  if (!model.active_field()) return files;
  files.push_back(target / "deformation.pth");
  write_torch_checkpoint(files[1], deformation_state(model));
  // Which Gaussians deform: all.
  const std::vector<uint8_t> all(static_cast<size_t>(model.gaussians.count()), 1);
  files.push_back(target / "deformation_table.pth");
  write_torch_checkpoint(files[2],
                         TorchTensor::from_bytes(DType::boolean, {model.gaussians.count()}, all.data()));
  return files;
}

}  // namespace eg4d
