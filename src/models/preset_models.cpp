#include "models/preset_models.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "models/model_catalog.h"

namespace eg4d {
namespace {

struct PresetModels {
  PaintingStage stage;
  const char* preset;
  std::vector<std::string> models;  // the first one is taken when none is named
};

const std::vector<PresetModels>& preset_models() {
  static const std::vector<PresetModels> table = {
      {PaintingStage::animate, "svd", {"svd", "svd_image_decoder"}},
      {PaintingStage::animate, "mini", {"svd_mini"}},
      {PaintingStage::animate, "paper", {"svd_xt_1_1"}},
      {PaintingStage::multiview, "mini", {"sv3d_mini"}},
      {PaintingStage::multiview, "paper", {"sv3d_p"}},
      {PaintingStage::refine, "mini", {"sdxl_mini"}},
      {PaintingStage::refine, "paper", {"sdxl_turbo"}},
  };
  return table;
}

bool is_called(const ModelEntry& entry, const std::string& name_or_path) {
  std::filesystem::path path(name_or_path);
  if (!path.has_filename()) path = path.parent_path();  // "folder/"
  const std::string last = path.filename().string();
  return entry.name == name_or_path || entry.file == last ||
         (!entry.repository.empty() && std::filesystem::path(entry.repository).filename() == last);
}

}  // namespace

std::string model_of_preset(PaintingStage stage, const std::string& preset) {
  std::string usual;
  for (const PresetModels& row : preset_models()) {
    if (row.stage != stage) continue;
    usual = row.models.front();  // the last row of a stage is the published default
    if (row.preset == preset) break;
  }
  return usual;
}

std::string preset_of_model(PaintingStage stage, const std::string& name_or_path) {
  if (name_or_path.empty()) return "paper";
  for (const ModelEntry& entry : model_catalog()) {
    if (!is_called(entry, name_or_path)) continue;
    for (const PresetModels& row : preset_models())
      if (row.stage == stage &&
          std::find(row.models.begin(), row.models.end(), entry.name) != row.models.end())
        return row.preset;
    return "paper";
  }
  return "paper";
}

}  // namespace eg4d
