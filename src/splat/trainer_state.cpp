// Saving and resuming a Trainer: one safetensors file with every tensor, and the counters as metadata.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "splat/trainer.h"
#include "splat/training_state.h"

namespace eg4d {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "eg4d-training-state-1";

// The counters of a state, not yet believed.
struct Counters {
  Stage stage = Stage::coarse;
  int64_t iteration = 0, averaged = 0, measured_pictures = 0;
  std::array<int64_t, 6> steps{};
  int64_t grid_steps = 0, box_steps = 0, network_steps = 0;
  int active_sh_degree = 0;
};

Counters read_counters(const TrainingStateFile& file, const ReconstructOptions& options) {
  Counters counters;
  try {
    const json stored = json::parse(file.metadata("counters"));
    const std::string stage = stored.at("stage");
    if (stage != name_of(Stage::coarse) && stage != name_of(Stage::fine))
      throw file.damaged(fmt::format("there is no stage '{}'", stage));
    counters.stage = stage == name_of(Stage::fine) ? Stage::fine : Stage::coarse;
    counters.iteration = stored.at("iteration");
    counters.averaged = stored.at("averaged");
    counters.steps = stored.at("steps");
    counters.grid_steps = stored.at("grid_steps");
    counters.box_steps = stored.at("box_steps");
    counters.network_steps = stored.at("network_steps");
    counters.active_sh_degree = stored.at("active_sh_degree");
    counters.measured_pictures = stored.value("measured_pictures", int64_t{0});  // not in older ones
  } catch (const json::exception&) {
    throw file.damaged("its counters cannot be read");
  }
  const int64_t iterations =
      counters.stage == Stage::fine ? options.schedule.fine_iterations : options.schedule.coarse_iterations;
  const auto is_count = [&](int64_t value) { return value >= 0 && value <= iterations; };
  bool sound = is_count(counters.iteration) && is_count(counters.averaged) && is_count(counters.grid_steps) &&
               is_count(counters.box_steps) && is_count(counters.network_steps) &&
               counters.active_sh_degree >= 0 && counters.active_sh_degree <= options.gaussian.sh_degree &&
               counters.measured_pictures >= 0 &&
               counters.measured_pictures <= iterations * options.schedule.views;
  for (const int64_t steps : counters.steps) sound = sound && is_count(steps);
  if (!sound) throw file.damaged("its counters are out of range");
  return counters;
}

}  // namespace

NamedMoments color_moments(const TrainingStart& start) {
  return {{"sh_dc", {start.first_moments.sh_dc, start.second_moments.sh_dc, start.steps[1]}},
          {"sh_rest", {start.first_moments.sh_rest, start.second_moments.sh_rest, start.steps[2]}},
          {"grid", start.grid},
          {"box", start.box},
          {"network", start.network}};
}

void Trainer::start_from(const Model& model, TrainingStart start) {
  if (model.info.deforms) {
    if (!(model.field.description() == field_.description()))
      throw Error("the start model's deformation field has other sizes than the options");
    field_ = model.field.clone();
  }
  gaussians_ = TrainedGaussians(model.gaussians.clone(), gaussians_.importance.defined());
  begin_stage(Stage::fine);
  iteration_ = start.iteration;
  gaussians_.values.active_sh_degree =
      std::min(gaussians_.values.active_sh_degree, options_.gaussian.sh_degree);
  if (start.first_moments.count() > 0) {
    gaussians_.first_moments = std::move(start.first_moments);
    gaussians_.second_moments = std::move(start.second_moments);
    gaussians_.steps = start.steps;
  }
  const std::pair<Moments*, Moments*> moments[] = {
      {&grid_moments_, &start.grid}, {&box_moments_, &start.box}, {&network_moments_, &start.network}};
  for (const auto& [into, from] : moments)
    if (from->first.defined()) *into = std::move(*from);
  const std::pair<Tensor*, Tensor*> statistics[] = {{&gaussians_.gradient_sum, &start.gradient_sum},
                                                    {&gaussians_.views, &start.views},
                                                    {&gaussians_.max_radii, &start.max_radii}};
  for (const auto& [into, from] : statistics)
    if (from->defined()) *into = std::move(*from);
}

std::vector<Trainer::StatePart> Trainer::state_parts(Stage stage, bool averaged) {
  std::vector<StatePart> parts;
  const auto add_gaussians = [&](const std::string& prefix, Gaussians& g, bool parameters) {
    const auto tensors = g.tensors(), like = gaussians_.values.tensors();
    for (size_t i = 0; i < tensors.size(); ++i)
      parts.push_back({prefix + Gaussians::kNames[i], tensors[i], like[i], true, parameters});
  };
  const auto add_field = [&](const std::string& name, Tensor& tensor, const Tensor& like, bool parameter) {
    parts.push_back({name, &tensor, &like, false, parameter});
  };
  add_gaussians("gaussians.", gaussians_.values, true);
  add_gaussians("gaussians.first_moment.", gaussians_.first_moments, false);
  add_gaussians("gaussians.second_moment.", gaussians_.second_moments, false);
  const std::pair<const char*, Tensor*> statistics[] = {{"gradient_sum", &gaussians_.gradient_sum},
                                                        {"views", &gaussians_.views},
                                                        {"max_radii", &gaussians_.max_radii}};
  for (const auto& [name, tensor] : statistics)
    parts.push_back({fmt::format("statistics.{}", name), tensor, tensor, true, false});
  if (Tensor& importance = gaussians_.importance; importance.defined())
    parts.push_back({"statistics.importance", &importance, &importance, true, false});
  add_field("field.grid", field_.grid, field_.grid, true);
  add_field("field.box", field_.box, field_.box, true);
  add_field("field.network", field_.network, field_.network, true);
  if (stage == Stage::fine) {
    const std::tuple<const char*, Moments*, const Tensor*> moments[] = {
        {"grid", &grid_moments_, &field_.grid},
        {"box", &box_moments_, &field_.box},
        {"network", &network_moments_, &field_.network}};
    for (const auto& [name, pair, like] : moments) {
      add_field(fmt::format("field.{}.first_moment", name), pair->first, *like, false);
      add_field(fmt::format("field.{}.second_moment", name), pair->second, *like, false);
    }
  }
  if (averaged) {
    add_gaussians("mean.", mean_gaussians_, true);
    add_field("mean.grid", mean_field_.grid, field_.grid, true);
    add_field("mean.box", mean_field_.box, field_.box, true);
    add_field("mean.network", mean_field_.network, field_.network, true);
  }
  return parts;
}

PreparedFile Trainer::prepare_state(const std::string& extra) const {
  std::vector<StateTensor> tensors;
  // The tensors are only read; the list is shared with load_state.
  for (const StatePart& part : const_cast<Trainer*>(this)->state_parts(stage_, averaged_ > 0))
    tensors.push_back({part.name, part.tensor, part.parameter});
  const json counters = {{"stage", name_of(stage_)},
                         {"iteration", iteration_},
                         {"steps", gaussians_.steps},
                         {"grid_steps", grid_moments_.steps},
                         {"box_steps", box_moments_.steps},
                         {"network_steps", network_moments_.steps},
                         {"active_sh_degree", gaussians_.values.active_sh_degree},
                         {"measured_pictures", measured_pictures_},
                         {"averaged", averaged_}};
  return prepare_training_state(kFormat, tensors, {{"counters", counters.dump()}, {"extra", extra}});
}

std::string Trainer::load_state(const std::filesystem::path& path) {
  const TrainingStateFile file(path, kFormat);
  const Counters counters = read_counters(file, options_);
  const Shape& positions = file.shape("gaussians.positions");
  if (positions.empty() || positions[0] < 1) throw file.damaged("it has no Gaussians");
  const int64_t count = positions[0];
  for (const StatePart& part : state_parts(counters.stage, counters.averaged > 0)) {
    Shape shape = part.like->shape();
    if (part.per_gaussian) shape[0] = count;
    file.check(part.name, shape, part.parameter);
  }

  // Everything fits: only now anything changes.
  gaussians_ = TrainedGaussians(Gaussians::empty(backend_, count), gaussians_.importance.defined());
  begin_stage(counters.stage);
  iteration_ = counters.iteration;
  gaussians_.steps = counters.steps;
  gaussians_.values.active_sh_degree = counters.active_sh_degree;
  grid_moments_.steps = counters.grid_steps;
  box_moments_.steps = counters.box_steps;
  network_moments_.steps = counters.network_steps;
  measured_pictures_ = counters.measured_pictures;
  averaged_ = counters.averaged;
  if (averaged_ > 0) {
    mean_gaussians_ = Gaussians::empty(backend_, count);
    mean_gaussians_.active_sh_degree = counters.active_sh_degree;
    mean_field_ = field_.clone();
  }
  for (const StatePart& part : state_parts(stage_, averaged_ > 0)) file.copy_to(part.name, *part.tensor);
  return file.metadata("extra");
}

}  // namespace eg4d
