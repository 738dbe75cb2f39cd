#include "pipeline/presets.h"

#include <string>

namespace eg4d {

namespace {

// What every preset but `paper` does differently from the reference, whose quirks they leave behind.
constexpr const char* kBetter = R"(
start.points = "silhouette"
start.scale = 0.7
data.swapped_fov = false
hexplane.full_time_axis = true
deformation.color_time = "own"
schedule.coarse_time = 0
schedule.random_resolution = false
schedule.skip_last_update = false
rate.grid = 5e-3
rate.grid_final = 5e-5
rate.final_factor = 0.1
density.from = 200
density.prune_interval = 100
density.prune_size_from = 1000000
density.max_gaussians = 360000
density.reset_interval = 0
density.reset_at_start = false
density.after_update = true
)";

// A field and a start that two processor cores can train in a minute.
constexpr const char* kSmall = R"(
start.count = 6000
hexplane.resolution = 32
hexplane.levels = [1, 2]
hexplane.channels = 16
deformation.width = 64
schedule.views = 2
gaussian.sh_interval = 500
rate.network = 8e-4
rate.network_final = 8e-6
)";

// What a GPU has time for: more Gaussians from the start and four pictures an iteration.
constexpr const char* kGpu = R"(
start.count = 20000
schedule.coarse_iterations = 300
schedule.views = 4
rate.network = 4e-4
rate.network_final = 4e-6
density.gradient = 2e-4
density.prune_weight = 0.03
loss.dssim = 0.2
)";

}  // namespace

const PresetTexts& reconstruct_presets() {
  static const PresetTexts presets{
      // The published hyper-parameters, quirks included: the defaults of ReconstructOptions.
      {"paper", ""},
      {"fast", std::string(kBetter) + kSmall + R"(
schedule.coarse_iterations = 300
schedule.fine_iterations = 2500
rate.steps = 2500
density.until = 1500
)"},
      // For the mini models' 128×128 views: what they are worth.
      {"mini", std::string(kBetter) + kSmall + R"(
hexplane.time_resolution = 8
schedule.coarse_iterations = 150
schedule.fine_iterations = 800
schedule.evaluate_interval = 50
rate.steps = 800
density.until = 500
)"},
      // The published network sizes, the best schedule found.
      {"quality", std::string(kBetter) + R"(
start.count = 10000
schedule.coarse_iterations = 500
schedule.fine_iterations = 6000
schedule.views = 2
schedule.average_from = 5000
rate.network = 4e-4
rate.network_final = 4e-6
rate.steps = 6000
density.until = 3000
density.gradient = 3e-4
loss.dssim = 0.2
)"},
      // The published configuration of the D-NeRF scenes: 4D Gaussians without what EG4D adds.
      {"dnerf", R"(
gaussian.sh_direction = "deformed"
deformation.width = 64
deformation.depth = 1
deformation.color = false
schedule.coarse_iterations = 3000
schedule.fine_iterations = 20000
schedule.random_resolution = false
schedule.replacement = true
regularization.plane_smoothness = 0
regularization.time_smoothness = 0
regularization.time_l1 = 0
)"},
      // The best picture that a GPU trains in 15 seconds.
      {"turbo", std::string(kBetter) + kGpu + R"(
deformation.width = 128
schedule.fine_iterations = 4000
schedule.evaluate_interval = 1000
schedule.average_from = 3333
gaussian.sh_interval = 500
rate.steps = 4000
density.until = 2400
)"},
      // The best that it trains in a minute.
      {"ultra", std::string(kBetter) + kGpu + R"(
schedule.fine_iterations = 14000
schedule.evaluate_interval = 2500
schedule.average_from = 11666
gaussian.sh_interval = 1000
rate.steps = 14000
density.until = 8400
)"}};
  return presets;
}

}  // namespace eg4d
