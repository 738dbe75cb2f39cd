#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/progress.h"
#include "pipeline/generate_models.h"
#include "pipeline/render.h"

namespace eg4d {

class Backend;

// What report.html of a run folder tells besides what lies in the folder.
struct Report {
  std::string name;               // of the input
  std::filesystem::path picture;  // the input, or its first frame
  bool is_video = false;          // the input
  std::filesystem::path run;      // finished run folder of `generate`
  std::string settings;           // TOML
  std::vector<WeightsUsed> weights;
  std::vector<std::string> notes;  // sentences about what was not as it could be
  bool demonstration = false;      // made with the mini models
  OrbitPath orbit;                 // around the object, from the input's camera on
  bool background = false;         // the input shows more than an object on white
};

// Writes RUN/grid.png (views × times of the object), RUN/views.png (the same of what Stage I painted) and
// RUN/report.html: input, video, orbit, grids, curves of the PSNR,
// times, memory, settings and licences in one file that needs nothing else. Throws Error when something of it
// is missing.
void write_report(Backend& backend, const Report& report, Progress& progress);

}  // namespace eg4d
