#include "view/scene.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "splat/evaluation.h"
#include "splat/gaussian_cloud.h"
#include "splat/renderer.h"

namespace eg4d {
namespace {

constexpr float kLeastOpacity = 1 / 255.f;  // below it the rasteriser draws nothing

// q and -q turn alike; in between, only neighbours in one half of the sphere can be interpolated.
void turn_to_half_of(std::vector<float>& quaternions, const std::vector<float>& canonical) {
  for (size_t i = 0; i < quaternions.size(); i += 4) {
    float dot = 0;
    for (size_t k = 0; k < 4; ++k) dot += quaternions[i + k] * canonical[i + k];
    if (dot < 0)
      for (size_t k = 0; k < 4; ++k) quaternions[i + k] = -quaternions[i + k];
  }
}

// Three numbers of ten bits, interleaved: sorted by it, neighbours in the list are neighbours in space.
uint32_t morton_code(const float* position, const float* low, float scale) {
  uint32_t code = 0;
  for (uint32_t axis = 0; axis < 3; ++axis) {
    const float place = (position[axis] - low[axis]) * scale;
    const float cell = place > 0 ? std::min(place, 1023.0f) : 0;  // NaN too
    for (uint32_t bit = 0; bit < 10; ++bit)
      code |= (static_cast<uint32_t>(cell) >> bit & 1) << (3 * bit + axis);
  }
  return code;
}

std::vector<uint32_t> morton_codes(const std::vector<float>& positions) {
  float low[3] = {INFINITY, INFINITY, INFINITY}, high[3] = {-INFINITY, -INFINITY, -INFINITY};
  for (size_t i = 0; i < positions.size(); ++i) {
    low[i % 3] = std::min(low[i % 3], positions[i]);
    high[i % 3] = std::max(high[i % 3], positions[i]);
  }
  float extent = 1e-6f;
  for (int axis = 0; axis < 3; ++axis) extent = std::max(extent, high[axis] - low[axis]);
  std::vector<uint32_t> codes(positions.size() / 3);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = morton_code(&positions[3 * i], low, 1023 / extent);
  return codes;
}

// Those that are ever seen, neighbours beside each other.
std::vector<size_t> shown_order(const Scene& scene) {
  std::vector<size_t> order;
  for (size_t i = 0; i < static_cast<size_t>(scene.count); ++i) {
    float most = scene.opacities[i];
    for (const SceneMoment& moment : scene.moments)
      if (!moment.opacities.empty()) most = std::max(most, moment.opacities[i]);
    if (most >= kLeastOpacity) order.push_back(i);
  }
  const std::vector<uint32_t> codes = morton_codes(scene.positions);
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return std::pair(codes[a], a) < std::pair(codes[b], b); });
  return order;
}

void gather(std::vector<float>& values, const std::vector<size_t>& order, size_t width) {
  if (values.empty()) return;
  std::vector<float> gathered(order.size() * width);
  for (size_t i = 0; i < order.size(); ++i)
    std::copy_n(&values[order[i] * width], width, &gathered[i * width]);
  values = std::move(gathered);
}

void arrange(Scene& scene) {
  const std::vector<size_t> order = shown_order(scene);
  const auto take = [&](auto& pose) {
    gather(pose.positions, order, 3);
    gather(pose.log_scales, order, 3);
    gather(pose.quaternions, order, 4);
    gather(pose.gain_bias, order, 4);
    gather(pose.opacities, order, 1);
  };
  take(scene);
  gather(scene.sh_dc, order, 3);
  gather(scene.sh_rest, order, 45);
  for (SceneMoment& moment : scene.moments) take(moment);
  scene.count = static_cast<int64_t>(order.size());
}

class SceneMaker {
 public:
  SceneMaker(Backend& backend, const Model& model)
      : model_(model), renderer_(backend, render_options(model.info.options)) {}

  Scene canonical() {
    const ModelInfo& info = model_.info;
    Scene scene;
    scene.count = model_.gaussians.count();
    if (scene.count == 0) throw Error("the model has no Gaussians: there is nothing to show");
    scene.sh_degree = model_.gaussians.active_sh_degree;
    renderer_.deform(model_.gaussians, nullptr, 0.0f, 0.0f, false);
    take_pose(scene);
    scene.sh_dc = model_.gaussians.sh_dc.to_host();
    scene.sh_rest = model_.gaussians.sh_rest.to_host();
    const float reference = info.options.deformation.reference_time;
    if (model_.active_field()) deform(reference);
    scene.opacities = renderer_.deformed().opacities.to_host();
    scene.gain_bias = gain_bias();
    scene.color_time = info.options.deformation.color_time;
    scene.reference_time = reference;
    scene.white_background = info.options.data.background == Background::white;
    scene.fov_x = info.fov_x;
    scene.camera_radius = info.camera_radius;
    scene.width = info.width;
    scene.height = info.height;
    scene.frames = info.deforms ? std::max(info.frame_count, 1) : 1;
    return scene;
  }

  SceneMoment moment(const Scene& scene, float time, bool own_colors) {
    SceneMoment moment;
    moment.time = time;
    deform(time);
    take_pose(moment);
    turn_to_half_of(moment.quaternions, scene.quaternions);
    if (!own_colors || !model_.active_field()) return moment;
    const auto& deformation = model_.info.options.deformation;
    if (deformation.color) moment.gain_bias = gain_bias();
    if (deformation.opacity) moment.opacities = renderer_.deformed().opacities.to_host();
    return moment;
  }

 private:
  void deform(float time) { renderer_.deform(model_.gaussians, model_.active_field(), time, time, false); }
  template <class Pose>
  void take_pose(Pose& pose) const {
    pose.positions = renderer_.deformed().means.to_host();
    pose.log_scales = logarithms_of_scales(renderer_.deformed().scales.to_host());
    pose.quaternions = renderer_.deformed().rotations.to_host();
  }
  std::vector<float> gain_bias() const {
    if (!model_.active_field() || !model_.info.options.deformation.color)
      return std::vector<float>(static_cast<size_t>(4 * model_.gaussians.count()));
    return renderer_.deformed().gain_bias.to_host();
  }

  const Model& model_;
  Renderer renderer_;
};

}  // namespace

int moment_count(const ModelInfo& info, const SceneOptions& options) {
  if (!info.deforms) return 1;
  return options.moments > 0 ? options.moments : 2 * std::max(info.frame_count, 1) - 1;
}

Scene scene_of_model(Backend& backend, const Model& model, const SceneOptions& options,
                     const std::function<bool()>& stop) {
  SceneMaker maker(backend, model);
  Scene scene = maker.canonical();
  const int count = moment_count(model.info, options);
  for (int i = 0; i < count; ++i) {
    if (stop()) throw Interrupted(fmt::format("stopped after {} of {} moments", i, count));
    const float time = count > 1 ? static_cast<float>(i) / static_cast<float>(count - 1) : 0;
    scene.moments.push_back(maker.moment(scene, time, options.own_colors));
  }
  arrange(scene);
  return scene;
}

}  // namespace eg4d
