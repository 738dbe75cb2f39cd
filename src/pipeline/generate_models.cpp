#include "pipeline/generate_models.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "core/error.h"
#include "models/model_check.h"
#include "models/preset_models.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

using Names = std::array<std::string, 3>;  // of the models that animate, paint views, refine

Names names_of(const std::string& preset) {
  return {model_of_preset(PaintingStage::animate, preset), model_of_preset(PaintingStage::multiview, preset),
          model_of_preset(PaintingStage::refine, preset)};
}

std::vector<std::string> missing_models(const Names& names, const fs::path& folder) {
  std::vector<std::string> missing;
  for (const std::string& name : names)
    if (!find_model(find_model_entry(name), folder)) missing.push_back(name);
  return missing;
}

void require_all(const Names& names, const fs::path& folder) {
  const std::vector<std::string> missing = missing_models(names, folder);
  if (missing.empty()) return;
  const ModelEntry& first = find_model_entry(missing.front());
  if (first.bundled) throw Error(how_to_get(first, folder));
  throw Error(fmt::format(
      "{} {} not on this machine: \"eg4d models fetch {}\" gets {}, --models-folder names another folder to "
      "look in, and --preset mini needs nothing (a demonstration)",
      fmt::join(missing, ", "), missing.size() == 1 ? "is" : "are", fmt::join(missing, " "),
      missing.size() == 1 ? "it" : "them"));
}

}  // namespace

GenerateModels find_generate_models(const std::string& preset, const fs::path& folder) {
  const bool mini = preset == "mini";
  const Names names = names_of(preset);
  require_all(names, folder);
  GenerateModels models;
  models.folder = folder;
  models.demonstration = mini;
  models.animate = require_model(names[0], folder);
  models.multiview = require_model(names[1], folder);
  // The mini network knows its own autoencoder only.
  models.refine = DiffusionPainter::find_models(names[2], mini ? "none" : "", "", folder);
  const ModelLocation locations[] = {models.animate, models.multiview, models.refine.network};
  for (size_t i = 0; i < names.size(); ++i) {
    const ModelEntry& entry = find_model_entry(names[i]);
    models.used.push_back(
        {entry.name, entry.license, entry.bundled ? training_record(locations[i]) : std::string()});
  }
  const auto add = [&models](const char* name) {
    models.used.push_back({name, find_model_entry(name).license, ""});
  };
  if (models.refine.autoencoder) add("sdxl_vae_fp16_fix");
  if (models.refine.matting) add("u2net");
  return models;
}

PresetChoice choose_generate_preset(const fs::path& folder) {
  const std::vector<std::string> missing = missing_models(names_of("paper"), folder);
  if (missing.empty()) return {"paper", "the published weights were found"};
  return {"mini", fmt::format("the published weights are not here ({} is missing; eg4d models list)",
                              missing.front())};
}

}  // namespace eg4d
