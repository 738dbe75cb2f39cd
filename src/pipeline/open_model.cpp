#include "pipeline/open_model.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "pipeline/python_model.h"
#include "pipeline/reconstruct.h"
#include "pipeline/recorded_path.h"

namespace eg4d {
namespace fs = std::filesystem;
namespace {

// The run folder that `model` is or lies in: RUN, RUN/coarse, RUN/coarse/model.safetensors.
fs::path run_folder_of(const fs::path& model) {
  fs::path folder = fs::absolute(model).lexically_normal();
  for (int level = 0; level < 3 && folder.has_relative_path(); ++level, folder = folder.parent_path()) {
    if (!run_model_file(folder).empty()) return folder;
  }
  return {};
}

// The dataset's place as the run's metrics tell it.
fs::path recorded_dataset(const fs::path& run) {
  std::ifstream file(run / "coarse" / "metrics.json");
  const nlohmann::json metrics = nlohmann::json::parse(file, nullptr, false);
  if (!metrics.is_object() || !metrics.contains("run") || !metrics["run"].is_object()) return {};
  const auto text = [&](const char* key) {
    const auto found = metrics["run"].find(key);
    return found != metrics["run"].end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  return path_of({text("dataset"), text("dataset_bytes")});
}

}  // namespace

fs::path run_model_file(const fs::path& run) {
  for (const char* name :
       {"refined/model.safetensors", "coarse/model.safetensors", "coarse/best.safetensors"}) {
    if (fs::is_regular_file(run / name)) return run / name;
  }
  return {};
}

Model open_model(Backend& backend, const fs::path& named) {
  if (!fs::exists(named)) {
    throw Error(fmt::format("there is no '{}'; give a run folder or a model file", named.string()));
  }
  if (is_python_model(named)) return read_python_model(backend, named);
  if (!fs::is_directory(named)) return load_model(backend, named);
  for (const fs::path& file : {run_model_file(named), run_model_file(named.parent_path())}) {
    if (!file.empty()) return load_model(backend, file);
  }
  if (fs::is_regular_file(named / "coarse" / "manifest.json")) {
    throw Error(
        fmt::format("the run '{}' has no model yet; `eg4d reconstruct` with the same arguments continues it",
                    named.string()));
  }
  throw Error(
      fmt::format("'{}' holds no model (no coarse/model.safetensors and no point_cloud.ply); "
                  "`eg4d reconstruct DATASET -o RUN` makes one",
                  named.string()));
}

fs::path dataset_of_model(const fs::path& model, const fs::path& given) {
  if (!given.empty()) return dataset_folder(given);
  const fs::path run = run_folder_of(model);
  if (!run.empty()) {
    if (fs::is_directory(run / "multiviews")) return run / "multiviews";
    const fs::path recorded = recorded_dataset(run);
    if (!recorded.empty() && fs::is_directory(recorded)) return recorded;
    if (!recorded.empty()) {
      throw Error(fmt::format("the dataset that '{}' was trained on is no longer at '{}'; name the dataset",
                              run.string(), recorded.string()));
    }
  }
  throw Error(
      fmt::format("it is not known which dataset '{}' was trained on; name the dataset", model.string()));
}

}  // namespace eg4d
