// Where the time of one training iteration goes, beside the plain scalar version of every operation on the
// same inputs.
//   bench_training [preset] [Gaussians] [iterations] [key=value …]

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "core/config.h"
#include "core/threads.h"
#include "measure.h"
#include "pipeline/presets.h"
#include "pipeline/views.h"
#include "splat/start_points.h"
#include "splat/trainer.h"
#include "support/places.h"
#include "timed_backend.h"

using namespace eg4d;

int main(int argc, char** argv) {
  ReconstructOptions options;
  ConfigSchema schema;
  options.bind(schema);
  const std::string preset = argc > 1 ? argv[1] : "paper";
  schema.apply_preset(preset, reconstruct_presets());
  options.start.points = StartPoints::silhouette;
  options.start.count = argc > 2 ? std::atoi(argv[2]) : 20000;
  const int iterations = argc > 3 ? std::atoi(argv[3]) : 9;
  for (int i = 4; i < argc; ++i) {
    const std::string argument = argv[i];
    schema.set(argument.substr(0, argument.find('=')), argument.substr(argument.find('=') + 1),
               "the command line");
  }
  options.schedule.coarse_iterations = 0;
  options.schedule.random_resolution = false;

  bench::TimedBackend backend;
  const Dataset dataset(test::examples() / "robot-192");
  const TrainingViews views =
      load_views(backend, dataset, dataset.read_split("train"), options, dataset.largest_time());
  std::vector<Camera> cameras;
  for (const TrainingView& view : views) cameras.push_back(view.camera);
  Philox random(1);
  Trainer trainer(backend, options, views, silhouette_points(views, options, random),
                  cameras_extent(cameras));

  trainer.step();  // warms up
  backend.take();
  std::vector<double> whole;
  std::map<std::string, std::vector<double>> operations;
  for (int i = 0; i < iterations; ++i) {
    const double begin = bench::wall_seconds();
    trainer.step();
    whole.push_back(bench::wall_seconds() - begin);
    for (const auto& [name, seconds] : backend.take()) operations[name].push_back(seconds);
  }
  backend.run_plain(true);
  trainer.step();
  const bench::OperationSeconds plain = backend.take_plain();

  const auto median = [](std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
    return values[values.size() / 2];
  };
  const double total = median(whole);
  fmt::print("{}: preset {}, {} Gaussians, {} picture(s) of {}×{} per iteration, median of {} iterations\n\n",
             backend.name(), preset, trainer.gaussian_count(), options.schedule.views, cameras[0].width,
             cameras[0].height, iterations);
  const bench::Table table({"operation", "ms", "share", "plain scalar, one core, ms", "faster per core"});
  double covered = 0, covered_plain = 0;
  for (const auto& [name, values] : operations) {
    const double seconds = median(values);
    const auto found = plain.find(name);
    if (found != plain.end()) {
      covered += seconds;
      covered_plain += found->second;
    }
    table.row(
        {name, bench::milliseconds(seconds), fmt::format("{:.0f} %", 100 * seconds / total),
         found == plain.end() ? "" : bench::milliseconds(found->second),
         found == plain.end() ? "" : fmt::format("{:.1f}×", found->second / (seconds * thread_count()))});
  }
  table.row({"whole iteration", bench::milliseconds(total), "100 %", "", ""});
  table.row({"all with a plain version", bench::milliseconds(covered),
             fmt::format("{:.0f} %", 100 * covered / total), bench::milliseconds(covered_plain),
             fmt::format("{:.1f}×", covered_plain / (covered * thread_count()))});
  return 0;
}
