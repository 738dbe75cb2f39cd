#include "pipeline/start.h"

#include <fmt/format.h>

#include "core/error.h"
#include "random/random.h"
#include "splat/start_points.h"

namespace eg4d {
namespace {
constexpr uint64_t kStartStream = uint64_t{5} << 56;

}  // namespace

PointCloud start_points(const Dataset& dataset, const TrainingViews& views,
                        const ReconstructOptions& options) {
  Philox random(options.seed, kStartStream);
  switch (options.start.points) {
    case StartPoints::file: {
      PointCloud points = dataset.start_points();
      if (points.count() == 0)
        throw Error(
            fmt::format("start.points = \"file\", but '{}' has no points3d.ply; use \"random\" or "
                        "\"silhouette\"",
                        dataset.folder().string()));
      return points;
    }
    case StartPoints::automatic: {
      PointCloud points = dataset.start_points();
      if (points.count() > 0) return points;
      return random_points(options.start.count, dataset.start_half_width().value_or(options.start.half_width),
                           random);
    }
    case StartPoints::random:
      return random_points(options.start.count, options.start.half_width, random);
    case StartPoints::silhouette:
      return silhouette_points(views, options, random);
  }
  return {};
}

}  // namespace eg4d
