#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "core/progress.h"
#include "splat/options.h"

namespace eg4d {

class Backend;

// Stage II as a resumable job: a dataset in the D-NeRF layout becomes a 4D model.
struct ReconstructJob {
  std::filesystem::path dataset;  // folder, or a run folder that holds multiviews/
  std::filesystem::path output;   // run folder; results go to <output>/coarse
  ReconstructOptions options;
  std::string preset;  // for the record
  std::filesystem::path
      models_folder;             // where LPIPS' weights are looked for first, if loss.lpips asks for it
  bool overwrite = false;        // start anew although the folder holds a run
  bool overwrite_other = false;  // the same where it is one of other settings
  double start_seconds = 0;      // what the program took until now, for the record
  // A model that training goes on from in place of first points, by any name that open_model takes; a field
  // that it has keeps its sizes, whatever `options` say. Empty: none.
  std::filesystem::path start_model = {};
  std::optional<int64_t> start_model_iteration = {};  // the model saved at this one (ModelChoice)
  // The fine stage's iteration that it goes on from. Empty: a checkpoint's of the Python EG4D, with its
  // optimiser and statistics; otherwise 0, with fresh ones.
  std::optional<int64_t> start_iteration = {};
};

struct ReconstructResult {
  std::filesystem::path model;    // coarse/model.safetensors
  std::filesystem::path metrics;  // coarse/metrics.json
  bool resumed = false, already_done = false;
};

// Writes coarse/{model,best,best_moments}.safetensors, metrics.json, log.jsonl, events.out.tfevents.* and,
// while training, checkpoint.safetensors. Killed at any moment, the same call continues from the last
// checkpoint and reaches the same bits. Throws Interrupted after a checkpoint when the user pressed Ctrl-C;
// Error when the folder holds a run with other settings or another dataset.
ReconstructResult reconstruct(Backend& backend, const ReconstructJob& job, Progress& progress);

// Throws the Error that reconstruct() would when the folder holds a run with other settings, or, where the
// dataset is there already, with another dataset. Nothing is written.
void check_reconstruction(const ReconstructJob& job);

// The dataset folder for what a user names: a dataset, or a run folder (its multiviews/).
std::filesystem::path dataset_folder(const std::filesystem::path& named);

}  // namespace eg4d
