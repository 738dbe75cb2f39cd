#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "splat/cloud_changes.h"
#include "splat/model.h"

namespace eg4d {

// One of the models that a folder may hold.
enum class WhichModel {
  automatic,  // refined when there is one, else best, else last
  refined,    // of Stage III
  best,       // of Stage II, by PSNR on the test split; it is there while training goes on
  last,       // of Stage II, at its end
};

// How a model is shown.
struct ModelChoice {
  WhichModel which = WhichModel::automatic;  // for folders
  std::optional<int64_t> iteration = {};     // for folders: the model that was saved at this one
  std::optional<ColorTime> color_time = {};  // empty: as the model says
  std::optional<float> reference_time = {};  // likewise
  UpAxis up = UpAxis::automatic;             // the axis that points up in a file of plain Gaussians
};

// "" (as the model says), "reference", "own", or a time in [0,1] at which all colours are read. Throws
// UsageError.
void set_color_time(ModelChoice& choice, const std::string& text);

// The model that a person names: a run folder or its coarse/ or refined/, a model file, a model of the Python
// EG4D (pipeline/python_model.h), or a file of plain Gaussians (pipeline/splat_model.h). `choice` has become
// a part of its options. Throws Error, one sentence, when nothing of that kind is there or it is damaged;
// UsageError when `which` asks for what the name cannot hold.
Model open_model(Backend& backend, const std::filesystem::path& named, const ModelChoice& choice = {});

// The file or Python model folder that open_model reads. Throws as it does.
std::filesystem::path model_place(const std::filesystem::path& named,
                                  WhichModel which = WhichModel::automatic,
                                  std::optional<int64_t> iteration = {});

// Of a run: the model that was saved at this iteration of the fine stage or of refinement, which goes on
// counting (checkpoint.models): "iteration_14000.safetensors".
std::string numbered_model_name(int64_t iteration);

// The model file of a run folder; empty when the folder holds no such model.
std::filesystem::path run_model_file(const std::filesystem::path& run,
                                     WhichModel which = WhichModel::automatic);

// The dataset to compare a model with: `given` when not empty (a dataset, or a run folder's multiviews/),
// otherwise the one that the run `model` was trained on, as its records tell. Throws Error that asks for it
// when it is not known or no longer there.
std::filesystem::path dataset_of_model(const std::filesystem::path& model,
                                       const std::filesystem::path& given);

}  // namespace eg4d
