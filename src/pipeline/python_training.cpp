#include "pipeline/python_training.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>

#include "core/error.h"
#include "io/torch_checkpoint.h"
#include "splat/gaussian_cloud.h"
#include "splat/reference_format.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

// One parameter: where the optimiser's state of it goes.
struct Slot {
  std::string name;
  Shape shape;
};

// torch.optim.Adam's state dict: groups of parameter numbers, and by number the moments.
class AdamState {
 public:
  AdamState(const TorchValue& optimizer, Backend& backend, const Model& model)
      : optimizer_(optimizer), backend_(backend), model_(model) {
    for (const auto& [number, state] : optimizer_.at("state").entries())
      if (const auto* index = number.get_if<int64_t>()) states_[*index] = &state;
  }

  // `field_names`: the deformation's parameters in the file's order.
  void read(const std::vector<Slot>& field_names, TrainingStart& start) {
    read_gaussians(start);
    read_field(field_names, start);
  }

 private:
  struct Entry {
    const TorchValue* state = nullptr;
    int64_t steps = 0;
  };

  std::vector<int64_t> numbers_of(const char* group) const {
    for (const TorchValue& candidate : optimizer_.at("param_groups").items()) {
      const TorchValue* name = candidate.find("name");
      if (!name || name->text() != group) continue;
      std::vector<int64_t> numbers;
      for (const TorchValue& number : candidate.at("params").items()) numbers.push_back(number.integer());
      return numbers;
    }
    throw Error(fmt::format("its optimiser has no parameters '{}'", group));
  }

  // Without state where the parameter never had a gradient.
  Entry entry(int64_t number) const {
    const auto found = states_.find(number);
    if (found == states_.end()) return {};
    const TorchValue& step = found->second->at("step");
    const auto* counted = step.get_if<TorchTensor>();
    if (counted && element_count(counted->shape) != 1)
      throw Error("its optimiser's step counts are no single numbers");
    const double steps = counted ? static_cast<double>(counted->floats()[0]) : step.real();
    if (!(steps >= 0 && steps < 1e9)) throw Error("its optimiser's step counts are out of range");
    return {found->second, static_cast<int64_t>(steps)};
  }

  static std::vector<float> values(const Entry& entry, const char* moment, const Slot& slot) {
    const auto count = static_cast<size_t>(element_count(slot.shape));
    if (!entry.state) return std::vector<float>(count);
    const TorchTensor& tensor = entry.state->at(moment).tensor();
    if (tensor.shape != slot.shape)
      throw Error(fmt::format("its optimiser's '{}' of '{}' has shape {}, the parameter {}", moment,
                              slot.name, to_string(tensor.shape), to_string(slot.shape)));
    std::vector<float> floats = tensor.floats();
    const bool squares = std::string_view(moment) == "exp_avg_sq";
    for (const float value : floats)
      if (!std::isfinite(value) || (squares && value < 0))
        throw Error(fmt::format("its optimiser's '{}' of '{}' holds impossible values", moment, slot.name));
    return floats;
  }

  void read_gaussians(TrainingStart& start) const {
    const int64_t n = model_.gaussians.count();
    const Slot slots[] = {{"xyz", {n, 3}},     {"f_dc", {n, 1, 3}},  {"f_rest", {n, 15, 3}},
                          {"scaling", {n, 3}}, {"rotation", {n, 4}}, {"opacity", {n, 1}}};
    GaussianCloud clouds[2];
    for (int which = 0; which < 2; ++which) {
      GaussianCloud& cloud = clouds[which];
      std::vector<float>* const into[] = {&cloud.positions,  &cloud.sh_dc,       &cloud.sh_rest,
                                          &cloud.log_scales, &cloud.quaternions, &cloud.opacity_logits};
      for (size_t i = 0; i < std::size(slots); ++i) {
        const std::vector<int64_t> numbers = numbers_of(slots[i].name.c_str());
        if (numbers.size() != 1)
          throw Error(fmt::format("its optimiser's '{}' is not one parameter", slots[i].name));
        const Entry state = entry(numbers[0]);
        *into[i] = values(state, which == 0 ? "exp_avg" : "exp_avg_sq", slots[i]);
        start.steps[i] = state.steps;
      }
    }
    start.first_moments = from_cloud(backend_, clouds[0]);
    start.second_moments = from_cloud(backend_, clouds[1]);
  }

  bool fits(const std::vector<int64_t>& numbers, const std::vector<Slot>& slots) const {
    for (size_t i = 0; i < slots.size(); ++i) {
      const Entry state = entry(numbers[i]);
      if (state.state && state.state->at("exp_avg").tensor().shape != slots[i].shape) return false;
    }
    return true;
  }

  // The moments of a field are laid out as the field is.
  void read_field(const std::vector<Slot>& all, TrainingStart& start) const {
    StateDict moments[2];
    int64_t box_steps = 0, grid_steps = 0, network_steps = 0;
    for (const char* group : {"grid", "deformation"}) {
      const bool grid = std::string_view(group) == "grid";
      std::vector<Slot> slots;
      for (const Slot& slot : all)
        if ((slot.name.find("grid") != std::string::npos) == grid) slots.push_back(slot);
      const std::vector<int64_t> numbers = numbers_of(group);
      if (numbers.size() != slots.size())
        throw Error(fmt::format("its optimiser's '{}' has {} parameters, the deformation {}", group,
                                numbers.size(), slots.size()));
      // The optimiser was given the deformation network before the time network, which may stand first in the
      // file; they differ in shape.
      if (!fits(numbers, slots))
        std::stable_partition(slots.begin(), slots.end(),
                              [](const Slot& slot) { return slot.name.starts_with("deformation_net."); });
      for (size_t i = 0; i < slots.size(); ++i) {
        const Entry state = entry(numbers[i]);
        int64_t& steps = !grid ? network_steps : slots[i].name.ends_with("aabb") ? box_steps : grid_steps;
        steps = std::max(steps, state.steps);
        moments[0][slots[i].name] = {slots[i].shape, values(state, "exp_avg", slots[i])};
        moments[1][slots[i].name] = {slots[i].shape, values(state, "exp_avg_sq", slots[i])};
      }
    }
    DeformationField first(backend_, model_.info.options), second(backend_, model_.info.options);
    load_field_state(first, moments[0]);
    load_field_state(second, moments[1]);
    start.grid = {first.grid, second.grid, grid_steps};
    start.box = {first.box, second.box, box_steps};
    start.network = {first.network, second.network, network_steps};
  }

  const TorchValue& optimizer_;
  std::map<int64_t, const TorchValue*> states_;
  Backend& backend_;
  const Model& model_;
};

bool is_buffer(const std::string& name) {
  return name.ends_with("_poc");
}

// The deformation's parameters, as a PyTorch module lists them.
std::vector<Slot> parameters_of(const TorchValue& state) {
  std::vector<Slot> slots;
  for (const auto& [key, tensor] : state.entries())
    if (tensor.get_if<TorchTensor>() && !is_buffer(key.text()))
      slots.push_back({key.text(), tensor.tensor().shape});
  return slots;
}

// Largest radii [N] (floats, unlike the table before them), then opacities, gradient sums and counts [N,1].
void read_statistics(Backend& backend, const std::vector<TorchValue>& values, int64_t count,
                     TrainingStart& start) {
  std::vector<const TorchTensor*> radii, columns;
  for (const TorchValue& value : values) {
    const auto* tensor = value.get_if<TorchTensor>();
    if (!tensor) continue;
    if (tensor->shape == Shape{count} && tensor->dtype != DType::boolean) radii.push_back(tensor);
    if (tensor->shape == Shape{count, 1}) columns.push_back(tensor);
  }
  if (radii.size() != 1 || columns.size() != 3)
    throw Error("it lacks the statistics of density control: radii [N], gradients [N,1] and counts [N,1]");
  const auto load = [&](const TorchTensor& from) {
    const std::vector<float> floats = from.floats();
    for (const float value : floats)
      if (!std::isfinite(value)) throw Error("its statistics of density control hold NaN or infinity");
    return Tensor::from_host<float>(backend, {count}, floats);
  };
  start.max_radii = load(*radii[0]);
  start.gradient_sum = load(*columns[1]);
  start.views = load(*columns[2]);
}

}  // namespace

std::optional<TrainingStart> read_python_training(Backend& backend, const fs::path& named,
                                                  const Model& model) {
  if (named.extension() != ".pth" || !model.info.deforms || !fs::is_regular_file(named)) return {};
  try {
    const TorchValue checkpoint = read_torch_checkpoint(named);
    if (checkpoint.items().empty()) throw Error("it is empty");
    const std::vector<TorchValue>& values = checkpoint.items()[0].items();
    const TorchValue *field = nullptr, *optimizer = nullptr;
    for (const TorchValue& value : values) {
      if (!value.get_if<TorchValue::Dict>()) continue;
      const TorchValue*& place = value.find("param_groups") ? optimizer : field;
      if (!place) place = &value;
    }
    if (!field || !optimizer) throw Error("it holds no optimiser");
    TrainingStart start;
    start.iteration = model.info.iterations;
    AdamState(*optimizer, backend, model).read(parameters_of(*field), start);
    read_statistics(backend, values, model.gaussians.count(), start);
    return start;
  } catch (const Error& error) {
    throw Error(fmt::format("cannot go on with the optimiser of '{}': {}", named.string(), error.what()));
  }
}

}  // namespace eg4d
