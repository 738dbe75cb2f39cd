#include "pipeline/start.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/random.h"
#include "splat/start_points.h"

#include <cstring>
#include <fstream>

namespace eg4d {
namespace {
constexpr uint64_t kStartStream = uint64_t{5} << 56;

// TEMPORARY until io/ply.h
PointCloud read_point_cloud(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string line;
  size_t count = 0;
  while (std::getline(file, line) && line != "end_header")
    if (line.starts_with("element vertex ")) count = std::stoul(line.substr(15));
  PointCloud points;
  for (size_t i = 0; i < count; ++i) {
    float v[6];
    uint8_t rgb[3];
    file.read(reinterpret_cast<char*>(v), 24);
    file.read(reinterpret_cast<char*>(rgb), 3);
    points.positions.insert(points.positions.end(), v, v + 3);
    for (uint8_t c : rgb) points.colors.push_back(c / 255.0f);
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
      return read_point_cloud(file);
    case StartPoints::automatic:
      if (has_file) return read_point_cloud(file);
      return random_points(options.start.count, options.start.half_width, random);
    case StartPoints::random:
      return random_points(options.start.count, options.start.half_width, random);
    case StartPoints::silhouette:
      return silhouette_points(views, options, random);
  }
  return {};
}

}  // namespace eg4d
