#pragma once

#include <filesystem>
#include <string>

#include "core/progress.h"
#include "pipeline/open_model.h"

namespace eg4d {

class Backend;

struct ViewJob {
  std::filesystem::path model;  // what open_model takes
  ModelChoice choice;
  std::filesystem::path dataset;      // empty: the one the model was trained on
  int moments = 0;                    // that are sent; 0: twice as many as the training video has
  std::string address = "127.0.0.1";  // numeric, of this machine
  int port = 8400;                    // or the next free one
  bool open = true;                   // a browser
};

// Shows a model in the browser until Ctrl-C. The link is told before the object is ready, which the page
// receives as it is made. Throws Error.
void view_model(Backend& backend, const ViewJob& job, Progress& progress);

// A scene file (view/scene_file.h) of a model. Throws Interrupted.
std::string scene_file_of_model(Backend& backend, const Model& model, int moments, bool own_colors,
                                Progress& progress);

}  // namespace eg4d
