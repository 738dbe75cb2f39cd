#include "splat/moments.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "splat/training_state.h"

namespace eg4d {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kFormat = "eg4d-moments-1";

}  // namespace

fs::path moments_file(const fs::path& model) {
  fs::path file = model;
  return file.replace_filename(model.stem().string() + "_moments" + model.extension().string());
}

void save_moments(const fs::path& path, const NamedMoments& moments, int64_t iterations) {
  prepare_moments(moments, iterations).write(path);
}

PreparedFile prepare_moments(const NamedMoments& moments, int64_t iterations) {
  std::vector<HostTensor> tensors;
  json steps = json::object();
  for (const auto& [name, state] : moments) {
    for (const auto& [part, tensor] : {std::pair{"first", &state.first}, std::pair{"second", &state.second}})
      tensors.push_back(on_host(fmt::format("{}.{}_moment", name, part), *tensor));
    steps[name] = state.steps;
  }
  return prepare_safetensors(
      std::move(tensors),
      {{"format", kFormat}, {"iterations", std::to_string(iterations)}, {"steps", steps.dump()}});
}

std::optional<NamedMoments> load_moments(Backend& backend, const fs::path& path, int64_t iterations) {
  if (!fs::is_regular_file(path)) return {};
  const SafetensorsFile file(path);
  const auto& metadata = file.metadata();
  const auto damaged = [&] {
    return Error(
        fmt::format("'{}' is damaged: it holds no optimiser state that this program wrote; without "
                    "the file, or with carry_moments = false, refinement starts with a fresh one",
                    path.string()));
  };
  const auto format = metadata.find("format"), made_at = metadata.find("iterations"),
             steps = metadata.find("steps");
  if (format == metadata.end() || format->second != kFormat || made_at == metadata.end() ||
      steps == metadata.end())
    throw damaged();
  if (made_at->second != std::to_string(iterations)) return {};
  const json counts = json::parse(steps->second, nullptr, false);
  if (!counts.is_object()) throw damaged();
  const auto load = [&](const std::string& name) {
    const auto& entry = file.at(name);
    const std::vector<float> values = file.floats(name);
    for (const float value : values)
      if (!std::isfinite(value)) throw damaged();
    return Tensor::from_host<float>(backend, entry.shape, values);
  };
  NamedMoments moments;
  for (const auto& [name, count] : counts.items()) {
    if (!count.is_number_integer() || count < 0) throw damaged();
    moments[name] = {load(name + ".first_moment"), load(name + ".second_moment"), count.get<int64_t>()};
  }
  return moments;
}

}  // namespace eg4d
