#pragma once

#include <filesystem>

#include "splat/model.h"

namespace eg4d {

// The model that a person names: a run folder (its refined model before its coarse one, the best so far while
// it still trains), a model file, or a model of the Python EG4D (pipeline/python_model.h). Throws Error, one
// sentence, when nothing of that kind is there or it is damaged.
Model open_model(Backend& backend, const std::filesystem::path& named);

// The model file of a run folder; empty when the folder holds none.
std::filesystem::path run_model_file(const std::filesystem::path& run);

// The dataset to compare a model with: `given` when not empty (a dataset, or a run folder's multiviews/),
// otherwise the one that the run `model` was trained on. Throws Error that asks for it when it is not known.
std::filesystem::path dataset_of_model(const std::filesystem::path& model,
                                       const std::filesystem::path& given);

}  // namespace eg4d
