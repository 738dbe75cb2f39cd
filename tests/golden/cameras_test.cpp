#include <gtest/gtest.h>

#include <cstring>

#include "scene/camera.h"
#include "support/golden.h"

namespace eg4d {
namespace {

using test::relative_error;

std::vector<double> doubles(const SafetensorsFile& file, const std::string& name) {
  const auto& entry = file.at(name);
  std::vector<double> values(static_cast<size_t>(element_count(entry.shape)));
  std::memcpy(values.data(), entry.data, entry.bytes);
  return values;
}

TEST(GoldenCameras, DerivedMatricesAndExtent) {
  if (!test::golden_has_fixture("cameras/io.safetensors")) GTEST_SKIP() << "no cameras fixture";
  const auto config = test::golden_json("cameras/config.json");
  const SafetensorsFile file = test::golden_tensors("cameras/io.safetensors");
  const int width = config["size"][0], height = config["size"][1];
  Intrinsics intrinsics;
  intrinsics.fov_x = config["camera_angle_x"].get<double>();
  for (const auto& [name, extents] : config["extent"].items()) {
    const auto poses = doubles(file, name + ".transform_matrix_f64");
    const size_t views = poses.size() / 16;
    std::vector<float> view, full, centers, projection;
    std::vector<Camera> training;
    for (size_t i = 0; i < views; ++i) {
      Matrix4 pose;
      std::copy_n(poses.begin() + static_cast<long>(16 * i), 16, pose.m.begin());
      const Camera camera = make_camera(pose, width, height, intrinsics, VerticalFov::reference_swapped);
      view.insert(view.end(), camera.world_to_view, camera.world_to_view + 16);
      full.insert(full.end(), camera.full_projection, camera.full_projection + 16);
      centers.insert(centers.end(), camera.center, camera.center + 3);
      projection.assign(camera.projection, camera.projection + 16);
      if (i > 0) training.push_back(camera);
      if (name.starts_with("elev")) {
        const double elevation = std::stod(name.substr(4));
        const Matrix4 orbit =
            orbit_camera_to_world(360.0 * static_cast<double>(i) / static_cast<double>(views), elevation,
                                  config["radius"].get<double>());
        for (size_t k = 0; k < 16; ++k) EXPECT_NEAR(orbit.m[k], pose.m[k], 1e-9);
      }
    }
    EXPECT_LE(relative_error(view, file.floats(name + ".world_view_transform")), 1e-6);
    EXPECT_LE(relative_error(full, file.floats(name + ".full_proj_transform")), 1e-6);
    EXPECT_LE(relative_error(centers, file.floats(name + ".camera_center")), 1e-6);
    EXPECT_LE(relative_error(projection, file.floats(name + ".projection_matrix")), 1e-6);
    for (const auto& extent : extents) EXPECT_NEAR(cameras_extent(training), extent.get<double>(), 1e-5);
  }
}

}  // namespace
}  // namespace eg4d
