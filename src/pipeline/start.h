#pragma once

#include "scene/dataset.h"
#include "splat/gaussians.h"
#include "splat/options.h"
#include "splat/training_data.h"

namespace eg4d {

// The first points as start.points asks: those that come with the dataset, noise, or the silhouettes' hull.
PointCloud start_points(const Dataset& dataset, const TrainingViews& views,
                        const ReconstructOptions& options);

}  // namespace eg4d
