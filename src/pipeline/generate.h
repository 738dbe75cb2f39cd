#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/progress.h"
#include "pipeline/diffusion_painter.h"
#include "pipeline/model_store.h"
#include "pipeline/render.h"
#include "pipeline/sampling_options.h"
#include "splat/options.h"

namespace eg4d {

class Backend;

// The settings of all stages; each stage's are a section of that name.
struct GenerateOptions {
  AnimateOptions animate;
  MultiviewOptions multiview;
  ReconstructOptions reconstruct;
  RefineOptions refine;
  DiffusionPainterOptions painting;
  bool refinement = true;
  OrbitPath orbit;

  void bind(ConfigSchema& schema);
};
// paper: SVD-XT 1.1, SV3D_p, SDXL-Turbo with the published settings. mini: small models of the same
// kinds (bundled_models_folder).
const PresetTexts& generate_presets();

// The weights of all stages.
struct GenerateModels {
  ModelLocation animate, multiview;
  std::optional<DiffusionPainter::Models> refine;
  std::filesystem::path folder;       // where LPIPS' and matting's weights are looked for first
  std::vector<std::string> licenses;  // of the above: "svd_mini: Apache-2.0"
  bool demonstration = false;         // small models
};
// The weights that a preset wants. Throws Error that names what is missing and how to get it.
GenerateModels find_generate_models(const std::string& preset, const std::filesystem::path& folder);

// The preset for the weights that are here: "paper" when all of its are found, otherwise "mini". `reason` is
// a sentence for the user.
struct PresetChoice {
  std::string preset, reason;
};
PresetChoice choose_generate_preset(const std::filesystem::path& folder);

struct GenerateJob {
  struct Item {
    std::filesystem::path picture, run;
  };
  std::vector<Item> items;
  GenerateModels models;
  GenerateOptions options;
  std::string preset, preset_reason;  // for the record
};

// Pictures become 4D objects: animate, multiview, reconstruct, refine, then orbit.mp4, object.ply and
// report.html in each run folder. Weights are read once for all pictures. Killed at any moment, the same call
// continues, to the same bits. Throws Interrupted, and the stages' Errors.
void generate(Backend& backend, const GenerateJob& job, Progress& progress);

}  // namespace eg4d
