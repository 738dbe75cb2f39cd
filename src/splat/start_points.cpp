#include "splat/start_points.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "core/threads.h"

namespace eg4d {
namespace {

constexpr int kVoxels = 96;             // per axis
constexpr int kForeground = 8;          // of 255: how unlike the background a pixel of the object is
constexpr float kMissesAllowed = 0.1f;  // share of pictures in which a voxel may lie on the background

struct HostView {
  const Camera* camera;
  std::vector<uint8_t> pixels;
};

// The pixel a point falls on; -1 outside the picture or behind the camera.
int64_t project(const Camera& camera, const float point[3]) {
  const float* m = camera.full_projection;
  float clip[4];
  for (int j = 0; j < 4; ++j)
    clip[j] = point[0] * m[j] + point[1] * m[4 + j] + point[2] * m[8 + j] + m[12 + j];
  if (clip[3] <= 0.01f) return -1;
  const float x = (clip[0] / clip[3] + 1) * 0.5f * static_cast<float>(camera.width);
  const float y = (clip[1] / clip[3] + 1) * 0.5f * static_cast<float>(camera.height);
  if (!(x >= 0 && y >= 0 && x < static_cast<float>(camera.width) && y < static_cast<float>(camera.height)))
    return -1;
  return static_cast<int64_t>(y) * camera.width + static_cast<int64_t>(x);
}

bool is_object(const HostView& view, int64_t pixel, int background) {
  const uint8_t* rgb = &view.pixels[static_cast<size_t>(pixel) * 3];
  return std::abs(rgb[0] - background) > kForeground || std::abs(rgb[1] - background) > kForeground ||
         std::abs(rgb[2] - background) > kForeground;
}

size_t voxel_index(int x, int y, int z) {
  return (static_cast<size_t>(z) * kVoxels + static_cast<size_t>(y)) * kVoxels + static_cast<size_t>(x);
}

// Adds 1 to every voxel that is inside the hull of these pictures.
void carve(const std::vector<HostView>& views, float half_width, int background,
           std::vector<uint16_t>& inside) {
  const int allowed = static_cast<int>(kMissesAllowed * static_cast<float>(views.size()));
  const float cell = 2 * half_width / kVoxels;
  parallel_for(kVoxels, 1, [&](int64_t begin, int64_t) {
    const int z = static_cast<int>(begin);
    for (int y = 0; y < kVoxels; ++y)
      for (int x = 0; x < kVoxels; ++x) {
        const float point[3] = {-half_width + cell * (static_cast<float>(x) + 0.5f),
                                -half_width + cell * (static_cast<float>(y) + 0.5f),
                                -half_width + cell * (static_cast<float>(z) + 0.5f)};
        int misses = 0;
        for (const HostView& view : views) {
          const int64_t pixel = project(*view.camera, point);
          if ((pixel < 0 || !is_object(view, pixel, background)) && ++misses > allowed) break;
        }
        if (misses <= allowed) ++inside[voxel_index(x, y, z)];
      }
  });
}

}  // namespace

PointCloud random_points(int count, float half_width, Philox& random) {
  PointCloud points;
  for (int i = 0; i < count * 3; ++i) points.positions.push_back(half_width * (2 * random.uniform() - 1));
  points.colors.assign(points.positions.size(), 127.0f / 255);
  return points;
}

PointCloud silhouette_points(const TrainingViews& views, const ReconstructOptions& options, Philox& random) {
  std::map<float, std::vector<const TrainingView*>> times;
  for (const TrainingView& view : views) times[view.time].push_back(&view);
  if (options.schedule.coarse_time >= 0) {
    const auto nearest = std::min_element(times.begin(), times.end(), [&](const auto& a, const auto& b) {
      return std::abs(a.first - options.schedule.coarse_time) <
             std::abs(b.first - options.schedule.coarse_time);
    });
    times = {{nearest->first, nearest->second}};
  }
  const int background = options.data.background == Background::white ? 255 : 0;
  const float half_width = options.start.half_width;
  std::vector<uint16_t> inside(size_t{kVoxels} * kVoxels * kVoxels, 0);
  std::vector<HostView> host;
  for (const auto& [time, members] : times) {
    host.clear();
    for (const TrainingView* view : members)
      host.push_back({&view->camera, view->picture.to_host<uint8_t>()});
    carve(host, half_width, background, inside);
  }

  const int needed = std::max(1, static_cast<int>(times.size()) / 2);
  auto filled = [&](int x, int y, int z) {
    return x >= 0 && y >= 0 && z >= 0 && x < kVoxels && y < kVoxels && z < kVoxels &&
           inside[voxel_index(x, y, z)] >= needed;
  };
  std::vector<std::array<int, 3>> surface;
  for (int z = 0; z < kVoxels; ++z)
    for (int y = 0; y < kVoxels; ++y)
      for (int x = 0; x < kVoxels; ++x)
        if (filled(x, y, z) && !(filled(x - 1, y, z) && filled(x + 1, y, z) && filled(x, y - 1, z) &&
                                 filled(x, y + 1, z) && filled(x, y, z - 1) && filled(x, y, z + 1)))
          surface.push_back({x, y, z});
  if (surface.empty())
    throw Error(
        "the pictures' silhouettes have no common volume inside the start cube; check the cameras and the "
        "background, "
        "or use start.points = \"random\"");

  // The pictures of the last time carved give the colours.
  PointCloud points;
  const float cell = 2 * half_width / kVoxels;
  for (int i = 0; i < options.start.count; ++i) {
    const auto& voxel = surface[random.below(static_cast<uint32_t>(surface.size()))];
    float point[3], color[3] = {};
    for (size_t axis = 0; axis < 3; ++axis)
      point[axis] = -half_width + cell * (static_cast<float>(voxel[axis]) + random.uniform());
    int seen = 0;
    for (const HostView& view : host) {
      const int64_t pixel = project(*view.camera, point);
      if (pixel < 0 || !is_object(view, pixel, background)) continue;
      for (size_t c = 0; c < 3; ++c)
        color[c] += static_cast<float>(view.pixels[static_cast<size_t>(pixel) * 3 + c]) / 255;
      ++seen;
    }
    points.positions.insert(points.positions.end(), point, point + 3);
    for (float c : color) points.colors.push_back(seen ? c / static_cast<float>(seen) : 0.5f);
  }
  return points;
}

}  // namespace eg4d
