#pragma once

#include "splat/options.h"

namespace eg4d::test {

// A field and a network that are small enough to train in a test, and a schedule of `coarse` and `fine`
// iterations.
inline ReconstructOptions tiny_options(int coarse, int fine) {
  ReconstructOptions options;
  options.hexplane.channels = 4;
  options.hexplane.resolution = 8;
  options.hexplane.levels = {1, 2};
  options.hexplane.time_resolution = 4;
  options.deformation.width = 8;
  options.schedule.coarse_iterations = coarse;
  options.schedule.fine_iterations = fine;
  return options;
}

// With density control in every tenth iteration and degrees of the spherical harmonics that rise.
inline ReconstructOptions busy_options() {
  ReconstructOptions options = tiny_options(30, 60);
  options.start.count = 60;
  options.gaussian.sh_interval = 20;
  options.density.from = 10;
  options.density.interval = 10;
  options.density.gradient = 1e-5f;
  options.density.prune_interval = 20;
  options.density.max_gaussians = 300;
  options.density.reset_interval = 25;
  return options;
}

}  // namespace eg4d::test
