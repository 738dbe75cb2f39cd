#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/progress.h"
#include "pipeline/generate_models.h"
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
  int orbit_size = 0;  // pixels a side of the orbit's pictures; 0: as the views

  void bind(ConfigSchema& schema);
  void bind_own(ConfigSchema& schema);  // those that are no stage's
};
// paper: SVD-XT 1.1, SV3D_p, SDXL-Turbo with the published settings. mini: small models of the same
// kinds that come with the program.
const PresetTexts& generate_presets();

struct GenerateJob {
  struct Item {
    std::filesystem::path picture, run;
    bool is_video = false;  // `picture` is a video, as read_frames takes it: Stage I-a only takes its frames
  };
  std::vector<Item> items;
  GenerateModels models;
  GenerateOptions options;
  std::string preset, preset_reason;  // for the record
  bool overwrite = false;             // results of other settings, and what was made from them, are made anew
};

// Pictures, or videos, become 4D objects: animate, multiview, reconstruct, refine, then orbit.mp4 (pictures
// in orbit/ where there is no FFmpeg), object.ply and report.html in each run folder. Weights are read once
// for all pictures. Killed at any moment, the same call continues, to the same bits. Results of other
// settings in a run folder are an Error before anything is made, unless they are to be overwritten; those
// that fit are kept. Throws Interrupted, and the stages' Errors.
void generate(Backend& backend, const GenerateJob& job, Progress& progress);

}  // namespace eg4d
