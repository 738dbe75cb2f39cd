#include "pipeline/presets.h"

namespace eg4d {

const PresetTexts& reconstruct_presets() {
  static const PresetTexts presets{
      // The published hyper-parameters, quirks included: the defaults of ReconstructOptions.
      {"paper", ""},
      {"fast", R"(
start.points = "silhouette"
start.count = 6000
start.scale = 0.7
data.swapped_fov = false
hexplane.resolution = 32
hexplane.levels = [1, 2]
hexplane.channels = 16
hexplane.full_time_axis = true
deformation.width = 64
deformation.color_time = "own"
schedule.coarse_iterations = 300
schedule.coarse_time = 0
schedule.fine_iterations = 2500
schedule.views = 2
schedule.random_resolution = false
schedule.skip_last_update = false
gaussian.sh_interval = 500
rate.network = 8e-4
rate.network_final = 8e-6
rate.grid = 5e-3
rate.grid_final = 5e-5
rate.steps = 2500
rate.final_factor = 0.1
density.from = 200
density.until = 1500
density.prune_interval = 100
density.prune_size_from = 1000000
density.max_gaussians = 360000
density.reset_interval = 0
density.reset_at_start = false
density.after_update = true
)"},
      // For the mini models' 128×128 views: what they are worth.
      {"mini", R"(
start.points = "silhouette"
start.count = 6000
start.scale = 0.7
data.swapped_fov = false
hexplane.resolution = 32
hexplane.levels = [1, 2]
hexplane.channels = 16
hexplane.time_resolution = 8
hexplane.full_time_axis = true
deformation.width = 64
deformation.color_time = "own"
schedule.coarse_iterations = 150
schedule.coarse_time = 0
schedule.fine_iterations = 800
schedule.views = 2
schedule.evaluate_interval = 50
schedule.random_resolution = false
schedule.skip_last_update = false
gaussian.sh_interval = 500
rate.network = 8e-4
rate.network_final = 8e-6
rate.grid = 5e-3
rate.grid_final = 5e-5
rate.steps = 800
rate.final_factor = 0.1
density.from = 200
density.until = 500
density.prune_interval = 100
density.prune_size_from = 1000000
density.max_gaussians = 360000
density.reset_interval = 0
density.reset_at_start = false
density.after_update = true
)"},
      // The published network sizes, the best schedule found.
      {"quality", R"(
start.points = "silhouette"
start.count = 10000
start.scale = 0.7
data.swapped_fov = false
hexplane.full_time_axis = true
deformation.color_time = "own"
schedule.coarse_iterations = 500
schedule.coarse_time = 0
schedule.fine_iterations = 6000
schedule.views = 2
schedule.random_resolution = false
schedule.skip_last_update = false
schedule.average_from = 5000
rate.network = 4e-4
rate.network_final = 4e-6
rate.grid = 5e-3
rate.grid_final = 5e-5
rate.steps = 6000
rate.final_factor = 0.1
density.from = 200
density.until = 3000
density.gradient = 3e-4
density.prune_interval = 100
density.prune_size_from = 1000000
density.max_gaussians = 360000
density.reset_interval = 0
density.reset_at_start = false
density.after_update = true
loss.dssim = 0.2
)"},
      // The best picture that a GPU trains in 15 seconds.
      {"turbo", R"(
start.points = "silhouette"
start.count = 20000
start.scale = 0.7
data.swapped_fov = false
hexplane.full_time_axis = true
deformation.width = 128
deformation.color_time = "own"
schedule.coarse_iterations = 300
schedule.coarse_time = 0
schedule.fine_iterations = 4000
schedule.views = 4
schedule.evaluate_interval = 1000
schedule.random_resolution = false
schedule.skip_last_update = false
schedule.average_from = 3333
gaussian.sh_interval = 500
rate.network = 4e-4
rate.network_final = 4e-6
rate.grid = 5e-3
rate.grid_final = 5e-5
rate.steps = 4000
rate.final_factor = 0.1
density.from = 200
density.until = 2400
density.gradient = 2e-4
density.prune_interval = 100
density.prune_size_from = 1000000
density.prune_weight = 0.03
density.max_gaussians = 360000
density.reset_interval = 0
density.reset_at_start = false
density.after_update = true
loss.dssim = 0.2
)"},
      // The best that it trains in a minute.
      {"ultra", R"(
start.points = "silhouette"
start.count = 20000
start.scale = 0.7
data.swapped_fov = false
hexplane.full_time_axis = true
deformation.color_time = "own"
schedule.coarse_iterations = 300
schedule.coarse_time = 0
schedule.fine_iterations = 14000
schedule.views = 4
schedule.evaluate_interval = 2500
schedule.random_resolution = false
schedule.skip_last_update = false
schedule.average_from = 11666
gaussian.sh_interval = 1000
rate.network = 4e-4
rate.network_final = 4e-6
rate.grid = 5e-3
rate.grid_final = 5e-5
rate.steps = 14000
rate.final_factor = 0.1
density.from = 200
density.until = 8400
density.gradient = 2e-4
density.prune_interval = 100
density.prune_size_from = 1000000
density.prune_weight = 0.03
density.max_gaussians = 360000
density.reset_interval = 0
density.reset_at_start = false
density.after_update = true
loss.dssim = 0.2
)"}};
  return presets;
}

}  // namespace eg4d
