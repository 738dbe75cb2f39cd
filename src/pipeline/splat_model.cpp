#include "pipeline/splat_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "io/folder.h"
#include "io/ply_writer.h"
#include "scene/camera.h"
#include "splat/gaussian_cloud.h"

namespace eg4d {
namespace fs = std::filesystem;
namespace {

constexpr int kPictureSize = 576;
constexpr double kMost = 0.98;      // of the Gaussians must be in sight; a few far away do not count
constexpr double kSmallest = 0.25;  // share of the picture below which the camera comes nearer

// The radius about the origin that holds most of the Gaussians.
double radius_of(const GaussianCloud& cloud) {
  std::vector<float> radii;
  for (size_t i = 0; i < cloud.positions.size(); i += 3)
    radii.push_back(std::hypot(cloud.positions[i], cloud.positions[i + 1], cloud.positions[i + 2]));
  const auto most = radii.begin() + static_cast<ptrdiff_t>(static_cast<double>(radii.size() - 1) * kMost);
  std::nth_element(radii.begin(), most, radii.end());
  return *most;
}

}  // namespace

bool is_splat_file(const fs::path& named) {
  const splat::SplatFormat* format = splat::splat_format_of(named);
  return format && format->decode && named.filename() != "point_cloud.ply" &&
         !(has_extension(named, ".ply") && fs::exists(named.parent_path() / "deformation.pth"));
}

Model read_splat_model(Backend& backend, const fs::path& file, UpAxis up) {
  GaussianCloud cloud = splat::read_splat_file(file);
  if (cloud.count() == 0) throw Error(fmt::format("the file '{}' holds no Gaussians", file.string()));
  const splat::SplatFormat& format = *splat::splat_format_of(file);
  turn_to_z_up(cloud, up == UpAxis::automatic ? format.up : up);

  Model model;
  model.info.deforms = false;
  model.info.frame_count = 1;
  model.info.width = model.info.height = kPictureSize;
  model.info.fov_x = kOrbitFovX;
  model.info.provenance = {{"program", fmt::format("a {} file", format.title)}};
  const double needed = radius_of(cloud) / std::sin(kOrbitFovX / 2);
  const bool usual = needed <= kOrbitRadius && needed >= kSmallest * kOrbitRadius;
  model.info.camera_radius = usual || needed == 0 ? kOrbitRadius : needed;
  model.gaussians = from_cloud(backend, cloud);
  model.gaussians.active_sh_degree = sh_degree_of(cloud);
  return model;
}

}  // namespace eg4d
