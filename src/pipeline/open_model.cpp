#include "pipeline/open_model.h"

#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "io/json_file.h"
#include "pipeline/python_model.h"
#include "pipeline/reconstruct.h"
#include "pipeline/recorded_path.h"
#include "pipeline/splat_model.h"
#include "scene/dataset.h"

namespace eg4d {
namespace fs = std::filesystem;
namespace {

struct RunFile {
  WhichModel which;
  const char* stage;
  const char* name;
};
// In the order of preference.
constexpr RunFile kRunFiles[] = {{WhichModel::refined, "refined", "model.safetensors"},
                                 {WhichModel::best, "coarse", "best.safetensors"},
                                 {WhichModel::last, "coarse", "model.safetensors"}};

bool wanted(const RunFile& file, WhichModel which) {
  return which == WhichModel::automatic || which == file.which;
}

// Without "." and a slash at the end.
fs::path plain(const fs::path& folder) {
  const fs::path path = fs::absolute(folder).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

// The model file of RUN/coarse or RUN/refined.
fs::path stage_model_file(const fs::path& stage, WhichModel which) {
  for (const RunFile& file : kRunFiles)
    if (wanted(file, which) && plain(stage).filename() == file.stage &&
        fs::is_regular_file(stage / file.name))
      return stage / file.name;
  return {};
}

// Of RUN, RUN/coarse or RUN/refined.
fs::path numbered_model_file(const fs::path& folder, int64_t iteration) {
  for (const char* stage : {"", "refined", "coarse"})
    if (const fs::path file = folder / stage / numbered_model_name(iteration); fs::is_regular_file(file))
      return file;
  throw Error(
      fmt::format("'{}' holds no model of iteration {} (checkpoint.models lists those that "
                  "reconstruct and refine keep)",
                  folder.string(), iteration));
}

// The run folder that `model` is or lies in: RUN, RUN/coarse, RUN/coarse/model.safetensors.
fs::path run_folder_of(const fs::path& model) {
  fs::path folder = plain(model);
  for (int level = 0; level < 3 && folder.has_relative_path(); ++level, folder = folder.parent_path()) {
    if (!run_model_file(folder).empty()) return folder;
  }
  return {};
}

// The dataset's place as a stage's metrics tell it; those of an unfinished one are not there yet.
fs::path recorded_dataset(const fs::path& stage) {
  const nlohmann::json metrics = read_json_if_there(stage / "metrics.json");
  const bool finished = metrics.is_object() && metrics.contains("run");
  const nlohmann::json record = finished ? metrics["run"] : read_json_if_there(stage / "dataset.json");
  if (!record.is_object()) return {};
  const auto text = [&](const char* key) {
    const auto found = record.find(key);
    return found != record.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  return path_of({text("dataset"), text("dataset_bytes")});
}

// Whether the run's manifest names the fingerprint of this dataset.
bool was_trained_on(const fs::path& run, const fs::path& dataset) {
  std::ifstream file(run / "coarse" / "manifest.json");
  std::stringstream manifest;
  manifest << file.rdbuf();
  try {
    return manifest.str().find(fmt::format("{:016x}", Dataset(dataset).fingerprint())) != std::string::npos;
  } catch (const Error&) {
    return false;  // no dataset that can be read
  }
}

// The dataset that the stage, or else Stage II, was trained on. A run's own multiviews/ is it when that is
// what the records say, or when they name a place that is gone and the contents are the same: the run was
// moved. Otherwise it came later.
fs::path dataset_of_run(const fs::path& run, const fs::path& stage) {
  fs::path recorded = recorded_dataset(stage);
  if (recorded.empty()) recorded = recorded_dataset(run / "coarse");
  const fs::path own = run / "multiviews";
  const bool has_own = fs::is_directory(own), has_recorded = !recorded.empty() && fs::is_directory(recorded);
  if (has_recorded && (!has_own || fs::equivalent(recorded, own))) return recorded;
  const bool has_records = !recorded.empty() || fs::exists(run / "coarse" / "manifest.json");
  if (has_own && (!has_records || was_trained_on(run, own))) return own;
  if (has_recorded) return recorded;
  if (recorded.empty()) return {};
  throw Error(fmt::format("the dataset that '{}' was trained on is no longer at '{}'{}; name the dataset",
                          run.string(), recorded.string(),
                          has_own ? fmt::format(" ('{}' is another one)", own.string()) : ""));
}

const char* name_of(WhichModel which) {
  return which == WhichModel::refined ? "refined" : which == WhichModel::best ? "best" : "last";
}

// A safetensors file: eight bytes of length, then JSON. A damaged one is for the reader to tell.
bool may_be_model_file(const fs::path& path) {
  if (path.extension() == ".safetensors") return true;
  std::ifstream file(path, std::ios::binary);
  char start[9] = {};
  file.read(start, sizeof start);
  return file.gcount() == sizeof start && start[8] == '{';
}

}  // namespace

void set_color_time(ModelChoice& choice, const std::string& text) {
  choice.color_time.reset();
  choice.reference_time.reset();
  if (text.empty()) return;
  choice.color_time = text == "own" ? ColorTime::own : ColorTime::reference;
  if (text == "own" || text == "reference") return;
  float time = -1;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), time);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size() || !(time >= 0 && time <= 1))
    throw UsageError(fmt::format("--color-time is reference, own or a time from 0 to 1, not '{}'", text));
  choice.reference_time = time;
}

fs::path run_model_file(const fs::path& run, WhichModel which) {
  for (const RunFile& file : kRunFiles)
    if (const fs::path path = run / file.stage / file.name; wanted(file, which) && fs::is_regular_file(path))
      return path;
  return {};
}

std::string numbered_model_name(int64_t iteration) {
  return fmt::format("iteration_{}.safetensors", iteration);
}

fs::path model_place(const fs::path& named, WhichModel which, std::optional<int64_t> iteration) {
  if (iteration && which != WhichModel::automatic)
    throw UsageError("--which and --iteration choose a model each: give one of them");
  if (!fs::exists(named)) {
    throw Error(fmt::format("there is no '{}'; give a run folder or a model file", named.string()));
  }
  if (!fs::is_directory(named)) {
    if (which != WhichModel::automatic || iteration)
      throw UsageError(fmt::format("--{} chooses among the models of a folder, and '{}' is a file",
                                   iteration ? "iteration" : "which", named.string()));
    if (!is_splat_file(named) && !is_python_model(named) && !may_be_model_file(named))
      throw Error(
          fmt::format("'{}' is no model: give a run folder, a model file (.safetensors), a model of the "
                      "Python EG4D, or a file of Gaussians (.ply, .splat, .spz, .sog)",
                      named.string()));
    return named;
  }
  if (is_python_model(named)) return python_model_folder(named, which, iteration);
  if (iteration) return numbered_model_file(named, *iteration);
  for (const fs::path& file : {run_model_file(named, which), stage_model_file(named, which)}) {
    if (!file.empty()) return file;
  }
  const bool has_others =
      !run_model_file(named).empty() || !stage_model_file(named, WhichModel::automatic).empty();
  if (has_others) {
    throw Error(fmt::format("'{}' holds no {} model; without --which the one that is there is taken",
                            named.string(), name_of(which)));
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

Model open_model(Backend& backend, const fs::path& named, const ModelChoice& choice) {
  const fs::path place = model_place(named, choice.which, choice.iteration);
  const bool is_splat = is_splat_file(place);
  if (choice.up != UpAxis::automatic && !is_splat)
    throw UsageError(
        fmt::format("--model-up is for files of plain Gaussians (.ply, .splat, .spz, .sog), and '{}' is "
                    "none; its axes are known",
                    named.string()));
  Model model = is_splat                 ? read_splat_model(backend, place, choice.up)
                : is_python_model(place) ? read_python_model(backend, place)
                                         : load_model(backend, place);
  auto& deformation = model.info.options.deformation;
  deformation.color_time = choice.color_time.value_or(deformation.color_time);
  deformation.reference_time = choice.reference_time.value_or(deformation.reference_time);
  return model;
}

fs::path dataset_of_model(const fs::path& model, const fs::path& given) {
  if (!given.empty()) return dataset_folder(given);
  const fs::path run = run_folder_of(model);
  if (!run.empty()) {
    const fs::path file = fs::is_directory(model) ? model_place(model) : model;
    if (const fs::path dataset = dataset_of_run(run, file.parent_path()); !dataset.empty()) return dataset;
  }
  throw Error(
      fmt::format("it is not known which dataset '{}' was trained on; name the dataset", model.string()));
}

}  // namespace eg4d
