#pragma once

#include <filesystem>

#include "pipeline/evaluate.h"

namespace eg4d {

// Writes <folder>/results.json and <folder>/per_view.json as 4DGaussians' metrics program does, so that
// scripts which collect its figures find ours: {"ours_<iterations>": {"SSIM", "PSNR", "LPIPS-vgg",
// "LPIPS-alex", "MS-SSIM", "D-SSIM"}}, the second with {"00000.png": figure, …} in place of each figure,
// pictures numbered as in the split. What was not measured is not in them. Atomic, each; throws Error.
void write_reference_results(const std::filesystem::path& folder, const EvaluateResult& result);

}  // namespace eg4d
