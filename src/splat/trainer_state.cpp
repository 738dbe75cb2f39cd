// Saving and resuming a Trainer: one safetensors file with every tensor, and the counters as metadata.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/safetensors.h"
#include "splat/trainer.h"

namespace eg4d {
namespace {

using nlohmann::json;

void add_gaussians(std::vector<std::pair<std::string, Tensor*>>& list, const std::string& prefix,
                   Gaussians& g) {
  const auto tensors = g.tensors();
  for (size_t i = 0; i < tensors.size(); ++i) list.emplace_back(prefix + Gaussians::kNames[i], tensors[i]);
}

}  // namespace

std::vector<std::pair<std::string, Tensor*>> Trainer::state_tensors() {
  std::vector<std::pair<std::string, Tensor*>> list;
  add_gaussians(list, "gaussians.", gaussians_.values);
  add_gaussians(list, "gaussians.first_moment.", gaussians_.first_moments);
  add_gaussians(list, "gaussians.second_moment.", gaussians_.second_moments);
  list.emplace_back("statistics.gradient_sum", &gaussians_.gradient_sum);
  list.emplace_back("statistics.views", &gaussians_.views);
  list.emplace_back("statistics.max_radii", &gaussians_.max_radii);
  list.emplace_back("field.grid", &field_.grid);
  list.emplace_back("field.box", &field_.box);
  list.emplace_back("field.network", &field_.network);
  if (stage_ == Stage::fine) {
    const std::pair<const char*, Moments*> moments[] = {
        {"grid", &grid_moments_}, {"box", &box_moments_}, {"network", &network_moments_}};
    for (const auto& [name, pair] : moments) {
      list.emplace_back(fmt::format("field.{}.first_moment", name), &pair->first);
      list.emplace_back(fmt::format("field.{}.second_moment", name), &pair->second);
    }
  }
  if (averaged_ > 0) {
    add_gaussians(list, "mean.", mean_gaussians_);
    list.emplace_back("mean.grid", &mean_field_.grid);
    list.emplace_back("mean.box", &mean_field_.box);
    list.emplace_back("mean.network", &mean_field_.network);
  }
  return list;
}

void Trainer::save_state(const std::filesystem::path& path, const std::string& extra) const {
  // The tensors are only read; the list is shared with load_state.
  const auto list = const_cast<Trainer*>(this)->state_tensors();
  std::vector<std::vector<float>> host;
  host.reserve(list.size());
  std::vector<SafetensorsTensor> tensors;
  for (const auto& [name, tensor] : list) {
    host.push_back(tensor->to_host());
    tensors.push_back({name, DType::f32, tensor->shape(), host.back().data()});
  }
  const json counters = {{"stage", name_of(stage_)},
                         {"iteration", iteration_},
                         {"steps", gaussians_.steps},
                         {"grid_steps", grid_moments_.steps},
                         {"box_steps", box_moments_.steps},
                         {"network_steps", network_moments_.steps},
                         {"active_sh_degree", gaussians_.values.active_sh_degree},
                         {"averaged", averaged_}};
  write_safetensors(path, tensors,
                    {{"format", "eg4d-training-state-1"}, {"counters", counters.dump()}, {"extra", extra}});
}

std::string Trainer::load_state(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  const auto& metadata = file.metadata();
  const auto format = metadata.find("format");
  if (format == metadata.end() || format->second != "eg4d-training-state-1" || !metadata.count("counters"))
    throw Error(fmt::format("'{}' is not a training checkpoint of this program's version", path.string()));
  const json counters = json::parse(metadata.at("counters"), nullptr, false);
  const auto damaged = [&] {
    return Error(fmt::format("the training checkpoint '{}' is damaged", path.string()));
  };
  try {
    begin_stage(counters.at("stage") == "fine" ? Stage::fine : Stage::coarse);
    iteration_ = counters.at("iteration");
    gaussians_.steps = counters.at("steps");
    grid_moments_.steps = counters.at("grid_steps");
    box_moments_.steps = counters.at("box_steps");
    network_moments_.steps = counters.at("network_steps");
    averaged_ = counters.at("averaged");
    const auto& positions = file.at("gaussians.positions").shape;
    if (positions.size() != 2) throw damaged();
    const int64_t count = positions[0];
    gaussians_ = [&] {
      TrainedGaussians resized(Gaussians::empty(backend_, count));
      resized.steps = gaussians_.steps;
      return resized;
    }();
    gaussians_.values.active_sh_degree = counters.at("active_sh_degree");
    if (averaged_ > 0) {
      mean_gaussians_ = Gaussians::empty(backend_, count);
      mean_gaussians_.active_sh_degree = gaussians_.values.active_sh_degree;
      mean_field_ = field_.clone();
    }
  } catch (const json::exception&) {
    throw damaged();
  }
  for (auto& [name, tensor] : state_tensors()) {
    const auto& entry = file.at(name);
    if (entry.dtype != DType::f32 || entry.shape != tensor->shape())
      throw Error(
          fmt::format("the training checkpoint '{}' was made with other settings: '{}' has shape {}, not {}",
                      path.string(), name, to_string(entry.shape), to_string(tensor->shape())));
    tensor->copy_from_host(entry.data, entry.bytes);
  }
  gradients_ = Gradients::zeros_like(gaussians_.values, stage_ == Stage::fine ? &field_ : nullptr);
  return metadata.count("extra") ? metadata.at("extra") : std::string();
}

}  // namespace eg4d
