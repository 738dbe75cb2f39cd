#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/model_store.h"
#include "pipeline/diffusion_painter.h"

namespace eg4d {

// Weights that a result was made with.
struct WeightsUsed {
  std::string name, license;
  std::string training;  // training_record; empty for those of others
};

// The weights of all stages of `generate`.
struct GenerateModels {
  ModelLocation animate, multiview;
  DiffusionPainter::Models refine;
  std::filesystem::path folder;  // where LPIPS' and matting's weights are looked for first
  std::vector<WeightsUsed> used;
  bool demonstration = false;  // the mini models
};
// The weights that a preset of `generate` wants. Throws Error that names what is missing and how to get it.
GenerateModels find_generate_models(const std::string& preset, const std::filesystem::path& folder);

// The preset for the weights that are here: "paper" when all of its are found, otherwise "mini". `reason` is
// a sentence for the user.
struct PresetChoice {
  std::string preset, reason;
};
PresetChoice choose_generate_preset(const std::filesystem::path& folder);

}  // namespace eg4d
