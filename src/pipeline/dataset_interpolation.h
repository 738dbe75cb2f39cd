#pragma once

#include <filesystem>
#include <string>

#include "core/progress.h"
#include "pipeline/sampling_options.h"
#include "scene/dataset_writer.h"

namespace eg4d {

// Where the dataset of these options is in a run folder: multiviews/, or beside it what interpolation makes
// of that (multiviews_views_x4, multiviews_times_x2, multiviews_views_x4_times_x2).
std::filesystem::path multiview_dataset(const std::filesystem::path& run, const MultiviewOptions& options);

// Interpolates a run's finished multiviews/ as the options say: first between views, then between moments;
// each is a resumable stage with a folder of its own. `painted` is the fingerprint of multiviews/. Returns
// true when nothing was left to do. Throws as interpolate_views does, Error when a folder holds something
// else.
bool interpolate_multiviews(const std::filesystem::path& run, const OrbitDataset& dataset,
                            const MultiviewOptions& options, const std::string& painted, bool overwrite,
                            Progress& progress);

}  // namespace eg4d
