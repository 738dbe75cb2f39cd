#include "pipeline/start.h"

#include <fmt/format.h>

#include "core/error.h"
#include "io/ply.h"
#include "random/random.h"
#include "splat/start_points.h"

namespace eg4d {
namespace {
constexpr uint64_t kStartStream = uint64_t{5} << 56;

PointCloud read_start_points(const std::filesystem::path& path) {
  PointCloud points = read_point_ply(path);
  if (points.count() == 0) {
    throw Error(
        fmt::format("'{}' holds no points; use start.points = \"random\" or \"silhouette\"", path.string()));
  }
  return points;
}

}  // namespace

PointCloud start_points(const Dataset& dataset, const TrainingViews& views,
                        const ReconstructOptions& options) {
  const std::filesystem::path file = dataset.folder() / "points3d.ply";
  const bool has_file = std::filesystem::exists(file);
  Philox random(options.seed, kStartStream);
  switch (options.start.points) {
    case StartPoints::file:
      if (!has_file)
        throw Error(
            fmt::format("start.points = \"file\", but '{}' does not exist; use \"random\" or \"silhouette\"",
                        file.string()));
      return read_start_points(file);
    case StartPoints::automatic:
      if (has_file) return read_start_points(file);
      return random_points(options.start.count, options.start.half_width, random);
    case StartPoints::random:
      return random_points(options.start.count, options.start.half_width, random);
    case StartPoints::silhouette:
      return silhouette_points(views, options, random);
  }
  return {};
}

}  // namespace eg4d
