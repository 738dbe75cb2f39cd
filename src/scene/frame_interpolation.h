#pragma once

#include <filesystem>

#include "scene/dataset_writer.h"

namespace eg4d {

// More time steps between those of a finished dataset: every view's pictures go through the external program
// rife-ncnn-vulkan, which makes `factor` times as many of them, and the result is written as a dataset of its
// own in `to`. Throws UsageError when the program is not on $PATH (saying where it comes from), Error when it
// fails.
void interpolate_dataset(const std::filesystem::path& from, const std::filesystem::path& to,
                         const OrbitDataset& dataset, int factor, double preview_fps = 10);

// Throws that UsageError now rather than after hours of other work.
void require_frame_interpolation();

}  // namespace eg4d
