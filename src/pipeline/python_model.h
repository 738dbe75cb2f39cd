#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "pipeline/open_model.h"

namespace eg4d {

// Models of the Python EG4D. Read are
// - a model folder, with point_cloud/{iteration_N,iteration_best}/{point_cloud.ply, deformation.pth}: the
// best
//   is taken, or else the largest N (WhichModel), or such an iteration_N folder itself;
// - a point_cloud.ply; with a deformation.pth beside it the object moves, without it stands still;
// - a checkpoint coarse_N.pth, fine_N.pth or best_N_PSNR.pth.
// What these do not tell (picture size, frames, camera) is taken from EG4D's own settings.
bool is_python_model(const std::filesystem::path& named);
// The folder with the point_cloud.ply that `named` means; empty when there is none. Throws Error when there
// are others, but not the one that `which` asks for.
std::filesystem::path python_model_folder(const std::filesystem::path& named,
                                          WhichModel which = WhichModel::automatic,
                                          std::optional<int64_t> iteration = {});
// Throws Error, one sentence naming the file and what is missing or misshapen.
Model read_python_model(Backend& backend, const std::filesystem::path& named);

// Writes point_cloud/iteration_N/{point_cloud.ply, deformation.pth, deformation_table.pth} under `folder`;
// the .pth files load with torch.load(weights_only=True). A model trained with hexplane.full_time_axis gets a
// time axis twice as long (2·resolution-1 texels), of which the Python code uses the upper half: the same
// values at every time. Warns when an option of the model has no counterpart there. Returns the files. Throws
// Error.
std::vector<std::filesystem::path> write_python_model(const Model& model,
                                                      const std::filesystem::path& folder);

}  // namespace eg4d
