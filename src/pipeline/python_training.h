#pragma once

#include <filesystem>
#include <optional>

#include "splat/model.h"
#include "splat/training_start.h"

namespace eg4d {

// The optimiser's state and density control's statistics in a checkpoint of the Python EG4D's fine stage
// (fine_N.pth, best_N_PSNR.pth), as `model` needs them, which was read from it. Empty when `named` is no such
// checkpoint. A parameter that the optimiser has not touched has zeros. Throws Error, one sentence naming the
// file, when they do not fit the model.
std::optional<TrainingStart> read_python_training(Backend& backend, const std::filesystem::path& named,
                                                  const Model& model);

}  // namespace eg4d
