#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/progress.h"

namespace eg4d {

class Backend;

// What report.html of a run folder tells besides what lies in the folder.
struct Report {
  std::filesystem::path picture;      // the input
  std::filesystem::path run;          // finished run folder of `generate`
  std::string settings;               // TOML
  std::vector<std::string> licenses;  // of the weights used
  bool demonstration = false;         // made with the mini models
};

// Writes RUN/grid.png (views × times) and RUN/report.html: input, video, orbit, grid, curves of the PSNR,
// times, memory, settings and licences in one file that needs nothing else. Throws Error when something of it
// is missing.
void write_report(Backend& backend, const Report& report, Progress& progress);

}  // namespace eg4d
