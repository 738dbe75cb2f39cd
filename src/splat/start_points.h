#pragma once

#include "random/random.h"
#include "splat/gaussians.h"
#include "splat/options.h"
#include "splat/training_data.h"

namespace eg4d {

// Uniform in the cube [-half_width, half_width]³, grey.
PointCloud random_points(int count, float half_width, Philox& random);

// Points on the surface of the visual hull: voxels of the start cube whose projections lie on the object
// (pixels unlike the background) in nearly all pictures of a time. With coarse_time ≥ 0 the hull of that
// time, otherwise voxels that are inside at half of all times. Colours are the mean of the pictures there.
// Throws Error when nothing is inside.
PointCloud silhouette_points(const TrainingViews& views, const ReconstructOptions& options, Philox& random);

}  // namespace eg4d
