#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "app/command.h"
#include "core/process.h"
#include "core/progress.h"

namespace eg4d {

// --view of a command that trains: `eg4d view RUN` in a process of its own for as long as this object lives.
// Whoever looks on takes nothing from training but a fiftieth of the device at most
// (pipeline/viewed_object.h).
class ViewBeside {
 public:
  void declare(Arguments& arguments);
  // When --view was given: starts the viewer of the run folder, which may not be there yet, and tells its
  // link. Where it cannot start, a warning says why.
  void start(const std::filesystem::path& run, const std::filesystem::path& dataset,
             const CommonOptions& common, Progress& progress);
  ~ViewBeside();

 private:
  bool wanted_ = false, open_ = true;
  std::unique_ptr<ChildProcess> viewer_;
};

}  // namespace eg4d
