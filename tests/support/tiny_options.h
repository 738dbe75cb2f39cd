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

}  // namespace eg4d::test
