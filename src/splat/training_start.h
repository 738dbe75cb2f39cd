#pragma once

#include <array>
#include <cstdint>

#include "splat/gaussians.h"
#include "splat/moments.h"

namespace eg4d {

// What Stage II's training goes on with beside a model's parameters; what is undefined starts afresh.
struct TrainingStart {
  int64_t iteration = 0;  // finished ones of the fine stage

  Gaussians first_moments, second_moments;
  std::array<int64_t, 6> steps{};  // of the Gaussians' six tensors
  Moments grid, box, network;

  Tensor gradient_sum, views, max_radii;  // [N] each, as TrainedGaussians has them
};

// What Stage III goes on with.
NamedMoments color_moments(const TrainingStart& start);

}  // namespace eg4d
