#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "io/torch_checkpoint.h"
#include "splat/gaussian_cloud.h"
#include "splat/model.h"
#include "splat/reference_format.h"

namespace eg4d::test {

// A checkpoint as the Python code saves it: ((degree, tensors, state dicts and statistics), iteration).
// Adam's first moments are half of the parameters, the second ones their squares; its groups have made 11,
// 12, … steps; radii are 7, gradient sums 8, counts 9.
struct PythonCheckpoint {
  struct State {
    TorchTensor first, second;
    int64_t steps;
  };

  PythonCheckpoint(const Model& model, int iteration) : iteration(iteration) {
    const GaussianCloud cloud = to_cloud(model.gaussians);
    const int64_t n = cloud.count();
    degree = model.gaussians.active_sh_degree;
    gaussians = {{"xyz", {{n, 3}, cloud.positions}},      {"f_dc", {{n, 1, 3}, cloud.sh_dc}},
                 {"f_rest", {{n, 15, 3}, cloud.sh_rest}}, {"opacity", {{n, 1}, cloud.opacity_logits}},
                 {"scaling", {{n, 3}, cloud.log_scales}}, {"rotation", {{n, 4}, cloud.quaternions}}};
    field = field_state(model.field);
    add("xyz", {gaussians[0].second}, 11);
    std::vector<NamedFloats> network, grid;
    for (const auto& [name, tensor] : field) {
      if (name.ends_with("_poc")) continue;
      (name.find("grid") == std::string::npos ? network : grid).push_back(tensor);
    }
    add("deformation", network, 12);
    add("grid", grid, 13);
    for (size_t i = 1; i < gaussians.size(); ++i)
      add(gaussians[i].first, {gaussians[i].second}, 13 + static_cast<int64_t>(i));
  }

  TorchValue value() const {
    const int64_t n = gaussians[0].second.shape[0];
    TorchValue::Dict deformation, optimizer, state;
    // In the file the time network comes first, for the optimiser the deformation network.
    for (const bool time : {true, false})
      for (const auto& [name, tensor] : field)
        if (name.starts_with("timenet") == time)
          deformation.entries.emplace_back(name, TorchTensor::from(tensor.shape, tensor.values));
    TorchValue::List param_groups;
    int64_t number = 0;
    for (const auto& [name, members] : groups) {
      TorchValue::List params;
      for (const size_t member : members) {
        const State& kept = states[member];
        TorchValue::Dict entry;
        entry.entries = {
            {"step", TorchTensor::from(Shape{}, std::vector<float>{static_cast<float>(kept.steps)})},
            {"exp_avg", kept.first},
            {"exp_avg_sq", kept.second}};
        state.entries.emplace_back(number, entry);
        params.items.emplace_back(number++);
      }
      TorchValue::Dict group;
      group.entries = {{"lr", 0.0}, {"name", name}, {"params", params}};
      param_groups.items.emplace_back(group);
    }
    optimizer.entries = {{"state", state}, {"param_groups", param_groups}};
    const auto tensor = [&](size_t i) {
      return TorchTensor::from(gaussians[i].second.shape, gaussians[i].second.values);
    };
    const auto filled = [&](Shape shape, float with) {
      return TorchTensor::from(std::move(shape), std::vector<float>(static_cast<size_t>(n), with));
    };
    const std::vector<uint8_t> all(static_cast<size_t>(n), 1);
    const TorchValue::Tuple captured{{degree, tensor(0), deformation,
                                      TorchTensor::from_bytes(DType::boolean, {n}, all.data()), tensor(1),
                                      tensor(2), tensor(4), tensor(5), tensor(3), filled({n}, 7),
                                      filled({n, 1}, 8), filled({n, 1}, 9), optimizer, 4.6}};
    return TorchValue::Tuple{{captured, iteration}};
  }

  int degree = 0, iteration;
  std::vector<std::pair<std::string, NamedFloats>> gaussians;
  StateDict field;
  std::vector<std::pair<std::string, std::vector<size_t>>> groups;  // of states
  std::vector<State> states;

 private:
  void add(const std::string& name, const std::vector<NamedFloats>& parameters, int64_t steps) {
    std::vector<size_t> members;
    for (const NamedFloats& parameter : parameters) {
      std::vector<float> half = parameter.values, square = parameter.values;
      for (float& value : half) value *= 0.5f;
      for (float& value : square) value *= value;
      members.push_back(states.size());
      states.push_back(
          {TorchTensor::from(parameter.shape, half), TorchTensor::from(parameter.shape, square), steps});
    }
    groups.emplace_back(name, members);
  }
};

}  // namespace eg4d::test
