#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "view/viewer_content.h"

namespace eg4d {

// What a run folder tells at a glance, also while something works there; only looks.
struct RunSummary {
  enum class State { running, paused, unfinished, finished };
  struct Stage {
    std::string name;  // "animate", "multiview", "reconstruct", "refine" or "present"
    bool finished = false;
    double seconds = 0;  // 0: not known
  };
  State state = State::unfinished;
  std::vector<Stage> stages;  // that were begun, in their order
  bool has_model = false;
  double psnr = NAN;    // of the model that is shown, on the test split
  int64_t changed = 0;  // seconds since 1970
};
const char* name_of(RunSummary::State state);

// Whether the folder holds results of any stage, or is a job's (pipeline/job_queue.h).
bool is_run(const std::filesystem::path& folder);

RunSummary summarize_run(const std::filesystem::path& run);

// The process that works in a run folder or in one of its stages' folders; 0 when there is none.
int process_in_run(const std::filesystem::path& run);

// How many pictures Stage I has painted: frames of the video, and the views of each moment.
struct PaintedPictures {
  int frames = 0;
  std::vector<int> views;
};
PaintedPictures painted_in_run(const std::filesystem::path& run);

// A picture of a run, at most `side` pixels a side, as PNG; none where there is none. Only what lies in the
// run's folder, or in the dataset that it was trained on, is shown. Throws Error for a damaged one.
std::optional<std::string> picture_of_run(const std::filesystem::path& run, const RunPicture& which,
                                          int side);

}  // namespace eg4d
