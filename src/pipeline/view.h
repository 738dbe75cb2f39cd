#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "core/progress.h"
#include "pipeline/job_queue.h"
#include "pipeline/viewed_object.h"

namespace eg4d {

class Backend;

struct ViewJob {
  // What is shown: what open_model takes, a run folder that has no model yet, or a folder under which runs
  // are. `live` is found out.
  ViewedModel shown;
  std::string address = "127.0.0.1";  // numeric, of this machine
  int port = 8400;                    // or the next free one
  bool open = true;                   // a browser
  int beside = 0;                     // the process that started this one; the viewer ends with it
  // For the pictures that the page sends: what `eg4d generate` is given, and where it looks for weights.
  JobQueue::Arguments generate_arguments;
  std::filesystem::path models_folder;
};
using BackendOpener = std::function<std::unique_ptr<Backend>()>;

// Shows a model, or the list of runs, in the browser until Ctrl-C. The link is told before an object is
// ready, which the page receives as it is made. The backend is opened when there is a model to show. Throws
// Error.
void view(const BackendOpener& open_backend, const ViewJob& job, Progress& progress);

// A scene file (view/scene_file.h) of a model. Throws Interrupted.
std::string scene_file_of_model(Backend& backend, const Model& model, int moments, bool own_colors,
                                Progress& progress);

}  // namespace eg4d
