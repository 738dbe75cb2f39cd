#include "support/tiny_scene.h"

#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "io/image.h"
#include "splat/renderer.h"

namespace eg4d::test {
namespace {

float time_of(int index, int times) {
  return times > 1 ? static_cast<float>(index) / static_cast<float>(times - 1) : 0.0f;
}

Gaussians blobs(Backend& backend, float time) {
  PointCloud points;
  const float wave = 0.5f * std::sin(3 * time);
  points.positions = {0, 0, 0, 0.5f, wave, 0.2f, -0.4f, 0.1f, 0.5f, 0.1f, -0.6f, -0.4f, -0.2f, 0.4f, -0.5f};
  points.colors = {0.9f, 0.1f, 0.1f, 0.1f, 0.6f, 0.2f, 0.2f, 0.2f, 0.9f, 0.8f, 0.7f, 0.1f, 0.1f, 0.1f, 0.1f};
  Gaussians gaussians = gaussians_from_points(backend, points, 0.95f, 1.0f);
  const std::vector<float> scales(points.positions.size(), std::log(0.18f));
  gaussians.log_scales.copy_from_host(scales.data(), gaussians.log_scales.bytes());
  return gaussians;
}

}  // namespace

TrainingViews tiny_scene(Backend& backend, int views, int times, int width, int height) {
  TrainingViews result;
  Renderer renderer(backend, {});
  Intrinsics intrinsics;
  intrinsics.fov_x = kOrbitFovX;
  for (int t = 0; t < times; ++t) {
    const float time = time_of(t, times);
    const Gaussians gaussians = blobs(backend, time);
    renderer.deform(gaussians, nullptr, time, time, false);
    for (int v = 0; v < views; ++v) {
      TrainingView view;
      view.camera =
          make_camera(orbit_camera_to_world(360.0 * v / views, 0, kOrbitRadius), width, height, intrinsics);
      view.time = time;
      view.name = fmt::format("views/{}/images/{:06}.png", v, t);
      const Tensor& image = renderer.render(view.camera).image;
      backend.run(ClampUnit{image.data(), image.count()});
      std::vector<uint8_t> pixels;
      for (float value : image.to_host()) pixels.push_back(static_cast<uint8_t>(std::lround(255 * value)));
      view.picture = Tensor::from_host<uint8_t>(backend, {height, width, 3}, pixels);
      result.push_back(std::move(view));
    }
  }
  return result;
}

void write_tiny_dataset(const std::filesystem::path& folder, int views, int times, int width, int height) {
  const auto backend = make_cpu_backend();
  const TrainingViews scene = tiny_scene(*backend, views, times, width, height);
  nlohmann::json splits[2];
  for (size_t i = 0; i < scene.size(); ++i) {
    const int v = static_cast<int>(i) % views, t = static_cast<int>(i) / views;
    Picture picture(width, height, 3);
    picture.data = scene[i].picture.to_host<uint8_t>();
    const std::filesystem::path file = folder / scene[i].name;
    std::filesystem::create_directories(file.parent_path());
    write_png(file, picture);
    const Matrix4 pose = orbit_camera_to_world(360.0 * v / views, 0, kOrbitRadius);
    nlohmann::json rows = nlohmann::json::array();
    for (int row = 0; row < 4; ++row)
      rows.push_back({pose(row, 0), pose(row, 1), pose(row, 2), pose(row, 3)});
    splits[v == 0].push_back({{"file_path", scene[i].name.substr(0, scene[i].name.size() - 4)},
                              {"time", scene[i].time},
                              {"time_index", t},
                              {"view_index", v},
                              {"transform_matrix", rows}});
  }
  for (const bool test : {false, true}) {
    std::ofstream file(folder / (test ? "transforms_test.json" : "transforms_train.json"));
    file << nlohmann::json{{"camera_angle_x", kOrbitFovX}, {"frames", splits[test]}}.dump();
  }
}

}  // namespace eg4d::test
