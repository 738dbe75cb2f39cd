#include "support/raster_scenes.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/random.h"
#include "io/safetensors.h"
#include "scene/camera.h"

namespace eg4d::test {
namespace {

constexpr float kWhite[3] = {1, 1, 1};

void append_unit_quaternion(Philox& random, std::vector<float>& rotations) {
  float q[4], square = 0;
  for (float& component : q) {
    component = random.normal();
    square += component * component;
  }
  const float scale = 1 / std::sqrt(square);
  for (const float component : q) rotations.push_back(component * scale);
}

float sigmoid(float x) {
  return 1 / (1 + std::exp(-x));
}

// A camera at the origin that looks along +z, as row-vector matrices.
RasterizeCamera camera_at_origin(float tan_fov_x, float tan_fov_y) {
  RasterizeCamera camera;
  camera.tan_fov_x = tan_fov_x;
  camera.tan_fov_y = tan_fov_y;
  constexpr float kNear = 0.01f, kFar = 100;
  for (int k = 0; k < 4; ++k) camera.world_to_view[5 * k] = 1;
  camera.full_projection[0] = 1 / tan_fov_x;
  camera.full_projection[5] = 1 / tan_fov_y;
  camera.full_projection[10] = kFar / (kFar - kNear);
  camera.full_projection[11] = 1;
  camera.full_projection[14] = -kFar * kNear / (kFar - kNear);
  return camera;
}

}  // namespace

RasterScene<float> ball_scene(int64_t count, float median_scale, int width, int height, uint64_t seed) {
  constexpr int kBalls = 12;
  Philox random(seed);
  float centers[kBalls][3], radii[kBalls], weights[kBalls], total = 0;
  for (int ball = 0; ball < kBalls; ++ball) {
    for (float& center : centers[ball]) center = 1.1f * random.uniform() - 0.55f;
    radii[ball] = 0.18f + 0.2f * random.uniform();
    weights[ball] = total += radii[ball] * radii[ball];
  }
  RasterScene<float> scene;
  scene.count = count;
  for (int64_t i = 0; i < count; ++i) {
    const float pick = total * random.uniform();
    const int ball = static_cast<int>(std::upper_bound(weights, weights + kBalls - 1, pick) - weights);
    float direction[3], square = 0;
    for (float& axis : direction) {
      axis = random.normal();
      square += axis * axis;
    }
    const bool surface = random.uniform() < 0.75f;
    const float distance = surface ? 1 + 0.02f * (2 * random.uniform() - 1) : std::cbrt(random.uniform());
    const float common = random.normal();
    for (int axis = 0; axis < 3; ++axis) {
      const float position =
          centers[ball][axis] + radii[ball] * distance * direction[axis] / std::sqrt(square);
      scene.means.push_back(position);
      scene.scales.push_back(median_scale * std::exp(0.55f * common + 0.45f * random.normal()));
      const float color =
          0.5f + 0.35f * std::sin(9 * position + static_cast<float>(axis)) + 0.1f * random.normal();
      scene.colors.push_back(std::clamp(color, 0.0f, 1.0f));
    }
    append_unit_quaternion(random, scene.rotations);
    scene.opacities.push_back(sigmoid(0.3f + 2 * random.normal()));
  }
  const Camera camera = make_camera(orbit_camera_to_world(360.0 / 21, 0, kOrbitRadius), width, height,
                                    {.fov_x = kOrbitFovX, .fov_y = {}, .center_x = {}, .center_y = {}});
  scene.camera = camera.rasterize_camera(kWhite);
  scene.width = width;
  scene.height = height;
  return scene;
}

RasterScene<float> scene_from_file(const std::string& path, int width, int height) {
  const SafetensorsFile file(path);
  RasterScene<float> scene;
  scene.means = file.floats("means");
  scene.scales = file.floats("scales");
  scene.rotations = file.floats("quats_wxyz");
  scene.opacities = file.floats("opacities");
  scene.colors = file.floats("colors");
  scene.count = static_cast<int64_t>(scene.opacities.size());
  const float tan_x = file.floats("tanfovx").at(0);
  scene.camera = camera_at_origin(tan_x, tan_x * static_cast<float>(height) / static_cast<float>(width));
  scene.width = width;
  scene.height = height;
  const RasterizeCamera at_origin = scene.camera;
  const std::vector<float> view = file.floats("viewmat");
  for (int row = 0; row < 4; ++row) {
    for (int column = 0; column < 4; ++column) {
      scene.camera.world_to_view[4 * row + column] = view.at(4 * column + row);
      float sum = 0;
      for (int k = 0; k < 4; ++k) sum += view.at(4 * k + row) * at_origin.full_projection[4 * k + column];
      scene.camera.full_projection[4 * row + column] = sum;
    }
  }
  std::copy_n(kWhite, 3, scene.camera.background);
  return scene;
}

RasterScene<float> scattered_scene(int64_t count, int width, int height, uint64_t seed) {
  Philox random(seed, 7);
  RasterScene<float> scene;
  scene.camera = camera_at_origin(0.5f, 0.5f * static_cast<float>(height) / static_cast<float>(width));
  scene.width = width;
  scene.height = height;
  scene.camera.background[0] = 0.2f;
  scene.camera.background[1] = 0.5f;
  scene.camera.background[2] = 0.8f;
  scene.count = count;
  for (int64_t i = 0; i < count; ++i) {
    const float z = 6 * random.uniform() - 0.5f, size = std::exp(1.2f * random.normal() - 3);
    scene.means.insert(scene.means.end(),
                       {z * (1.4f * random.uniform() - 0.7f), z * (1.4f * random.uniform() - 0.7f), z});
    for (int axis = 0; axis < 3; ++axis) {
      scene.scales.push_back(size * std::exp(random.normal()));
      scene.colors.push_back(random.uniform());
    }
    append_unit_quaternion(random, scene.rotations);
    scene.opacities.push_back(sigmoid(2 * random.normal()));
  }
  return scene;
}

template <class T>
RasterScene<T> converted(const RasterScene<float>& scene) {
  const auto convert = [](const std::vector<float>& values) {
    return std::vector<T>(values.begin(), values.end());
  };
  return {scene.camera,
          scene.width,
          scene.height,
          scene.count,
          convert(scene.means),
          convert(scene.scales),
          convert(scene.rotations),
          convert(scene.opacities),
          convert(scene.colors)};
}
template RasterScene<double> converted(const RasterScene<float>&);

DeviceRaster::DeviceRaster(Backend& backend, const RasterScene<float>& scene)
    : context(backend.create_rasterize_context()), backend_(backend) {
  const int64_t n = scene.count, h = scene.height, w = scene.width;
  const auto upload = [&](const std::vector<float>& values) -> const float* {
    if (values.empty() && n > 0) return nullptr;
    inputs_.push_back(Tensor::from_host(backend, {static_cast<int64_t>(values.size())}, values));
    return inputs_.back().data();
  };
  camera_ = Tensor::empty(backend, {static_cast<int64_t>(sizeof(RasterizeCamera))}, DType::u8);
  camera_.copy_from_host(&scene.camera, sizeof(RasterizeCamera));
  arguments.camera = static_cast<const RasterizeCamera*>(camera_.raw());
  arguments.width = scene.width;
  arguments.height = scene.height;
  arguments.count = n;
  arguments.means = upload(scene.means);
  arguments.scales = upload(scene.scales);
  arguments.rotations = upload(scene.rotations);
  arguments.opacities = upload(scene.opacities);
  arguments.colors = upload(scene.colors);
  image = Tensor::zeros(backend, {h, w, 3});
  depth = Tensor::zeros(backend, {h, w});
  alpha = Tensor::zeros(backend, {h, w});
  radii = Tensor::zeros(backend, {n}, DType::i32);
  arguments.image = image.data();
  arguments.depth = depth.data();
  arguments.alpha = alpha.data();
  arguments.radii = radii.data<int32_t>();
  arguments.context = context.get();
  d_means = Tensor::zeros(backend, {n, 3});
  d_scales = Tensor::zeros(backend, {n, 3});
  d_rotations = Tensor::zeros(backend, {n, 4});
  d_opacities = Tensor::zeros(backend, {n});
  d_colors = Tensor::zeros(backend, {n, 3});
  d_means_ndc = Tensor::zeros(backend, {n, 2});
}

void DeviceRaster::forward() {
  backend_.run(arguments);
}

void DeviceRaster::prepare_backward(const std::vector<float>& d_image) {
  const int64_t h = arguments.height, w = arguments.width;
  d_image_ = Tensor::from_host(backend_, {h, w, 3}, d_image);
  for (Tensor* tensor : {&d_means, &d_scales, &d_rotations, &d_opacities, &d_colors, &d_means_ndc})
    tensor->fill_zero();
  backward_.forward = arguments;
  backward_.d_image = d_image_.data();
  backward_.d_means = d_means.data();
  backward_.d_scales = d_scales.data();
  backward_.d_rotations = d_rotations.data();
  backward_.d_opacities = d_opacities.data();
  backward_.d_colors = d_colors.data();
  backward_.d_means_ndc = d_means_ndc.data();
}

void DeviceRaster::run_backward() {
  backend_.run(backward_);
}

void DeviceRaster::backward(const std::vector<float>& d_image) {
  prepare_backward(d_image);
  run_backward();
}

RasterGradients<float> DeviceRaster::gradients() const {
  return {d_means.to_host(),     d_scales.to_host(), d_rotations.to_host(),
          d_opacities.to_host(), d_colors.to_host(), d_means_ndc.to_host()};
}

}  // namespace eg4d::test
