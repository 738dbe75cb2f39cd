#pragma once

#include <filesystem>
#include <string>

#include "core/progress.h"
#include "scene/dataset_writer.h"

namespace eg4d {

// Denser datasets out of finished ones, made by the external program rife-ncnn-vulkan (RIFE, Huang et al.
// 2022): what lies between two pictures. Its kept rules: of N pictures made of `count`, number k (from 0) is
// taken at position k·count/N among them, from the last one on it is the last; a chosen N needs a v4 model.
struct Interpolation {
  int factor = 2;                   // pictures made for each that is there, 2 or more
  std::string model = "rife-v4.6";  // a model folder of the program
};

// What comes behind the last view of an orbit.
enum class OrbitEnd {
  closed,  // the first view again: views from the last one on lie between the two
  open,  // nothing, as published: the last `factor` views all show the last view, but have different cameras
};

// What comes out of a dataset.
OrbitDataset with_more_times(const OrbitDataset& dataset, int factor);  // factor·(times-1)+1 of them
OrbitDataset with_more_views(const OrbitDataset& dataset, int factor);  // factor·views of them

// Between the moments: every view's pictures become those of with_more_times. The result is a dataset of its
// own in `to`; pictures that are there already are kept, so that a broken-off call can be continued. Throws
// UsageError when the program is not on $PATH (saying where it comes from) or there is one moment only, Error
// when it fails, Interrupted on Ctrl-C.
void interpolate_times(const std::filesystem::path& from, const std::filesystem::path& to,
                       const OrbitDataset& dataset, const Interpolation& interpolation, Progress& progress,
                       double preview_fps = 10);

// Between the views of every moment, likewise: with_more_views, evenly around the object.
void interpolate_views(const std::filesystem::path& from, const std::filesystem::path& to,
                       const OrbitDataset& dataset, const Interpolation& interpolation, OrbitEnd end,
                       Progress& progress, double preview_fps = 10);

// Throws that UsageError now rather than after hours of other work, also for a model that cannot make a
// chosen number of pictures.
void require_interpolation(const std::string& model);

}  // namespace eg4d
