#include "pipeline/dataset_interpolation.h"

#include <fmt/format.h>

#include "pipeline/stage_folder.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

struct InterpolationSettings {
  MultiviewOptions options = {};
  void bind(ConfigSchema& schema) { options.bind_interpolation(schema); }
};

StageFolder::Manifest manifest_of(const MultiviewOptions& options, const std::string& painted) {
  return {"interpolate", settings_of(InterpolationSettings{options}), painted, ""};
}

}  // namespace

fs::path multiview_dataset(const fs::path& run, const MultiviewOptions& options) {
  std::string name = "multiviews";
  if (options.interpolate_views > 1) name += fmt::format("_views_x{}", options.interpolate_views);
  if (options.interpolate_times > 1) name += fmt::format("_times_x{}", options.interpolate_times);
  return run / name;
}

bool interpolate_multiviews(const fs::path& run, const OrbitDataset& dataset, const MultiviewOptions& options,
                            const std::string& painted, bool overwrite, Progress& progress) {
  OrbitDataset current = dataset;
  MultiviewOptions made = options;  // as far as it is made already
  made.interpolate_views = made.interpolate_times = 1;
  bool nothing_to_do = true;
  const auto step = [&](int MultiviewOptions::*factor, const auto& denser, const auto& interpolate) {
    if (options.*factor <= 1) return;
    const fs::path from = multiview_dataset(run, made);
    made.*factor = options.*factor;
    StageFolder folder(multiview_dataset(run, made), manifest_of(made, painted), overwrite);
    if (!folder.finished()) {
      interpolate(from, folder.path(), Interpolation{options.*factor, options.interpolation_model});
      folder.finish();
      nothing_to_do = false;
    }
    current = denser(current, options.*factor);
  };
  step(&MultiviewOptions::interpolate_views, with_more_views,
       [&](const fs::path& from, const fs::path& to, const Interpolation& how) {
         interpolate_views(from, to, current, how, options.interpolation_orbit, progress, options.fps);
       });
  step(&MultiviewOptions::interpolate_times, with_more_times,
       [&](const fs::path& from, const fs::path& to, const Interpolation& how) {
         interpolate_times(from, to, current, how, progress, options.fps);
       });
  return nothing_to_do;
}

}  // namespace eg4d
