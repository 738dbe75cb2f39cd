#include "splat/deformation_field.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/threads.h"

namespace eg4d {
namespace {

constexpr const char* kHeadNames[kHeadCount] = {"pos_deform",     "scales_deform",  "rotations_deform",
                                                "opacity_deform", "color_deform_w", "color_deform_b"};
// Coordinate pairs of the six planes; 3 is time.
constexpr int kPairs[6][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};

struct Layers {
  std::vector<DeformationField::Layer> trunk, heads;
  int64_t size = 0;  // floats, of all of them
};

Layers layers_of(const ReconstructOptions::Deformation& options, int features) {
  Layers layers;
  const auto add = [&layers](std::vector<DeformationField::Layer>& to, const std::string& name, int in,
                             int out) {
    to.push_back({name, in, out, layers.size, layers.size + int64_t{in} * out});
    layers.size += (int64_t{in} + 1) * out;
  };
  const int width = options.width;
  for (int i = 0; i < options.depth; ++i)
    add(layers.trunk, "feature_out." + std::to_string(2 * i), i == 0 ? features : width, width);
  for (int head = 0; head < kHeadCount; ++head) {
    add(layers.heads, std::string(kHeadNames[head]) + ".1", width, width);
    add(layers.heads, std::string(kHeadNames[head]) + ".3", width, kHeadWidths[head]);
  }
  return layers;
}

HexPlaneLayout layout_of(const ReconstructOptions::HexPlane& plane) {
  return hexplane_layout(plane.channels, plane.resolution, plane.levels, plane.time_resolution);
}

}  // namespace

HexPlaneLayout hexplane_layout(int channels, int resolution, const std::vector<int>& levels,
                               int time_resolution) {
  HexPlaneLayout layout;
  layout.channels = channels;
  int64_t offset = 0;
  for (int level : levels) {
    const int sizes[4] = {resolution * level, resolution * level, resolution * level, time_resolution};
    for (const auto& pair : kPairs) {
      HexPlaneLayout::Plane plane{offset, sizes[pair[1]], sizes[pair[0]]};
      layout.planes.push_back(plane);
      offset += int64_t{plane.rows} * plane.columns * channels;
    }
  }
  return layout;
}

DeformationField::DeformationField(Backend& backend, const ReconstructOptions& options)
    : full_time_axis_(options.hexplane.full_time_axis), zero_start_(options.deformation.zero_start) {
  layout = layout_of(options.hexplane);
  Layers layers = layers_of(options.deformation, layout.feature_width());
  trunk = std::move(layers.trunk);
  head_layers = std::move(layers.heads);
  grid = Tensor::zeros(backend, {layout.size()});
  box = Tensor::zeros(backend, {2, 3});
  network = Tensor::zeros(backend, {layers.size});
}

int64_t DeformationField::network_size(const ReconstructOptions& options) {
  return layers_of(options.deformation, layout_of(options.hexplane).feature_width()).size;
}

void DeformationField::initialize(const std::vector<float>& positions, Philox& random) {
  std::vector<float> texels(static_cast<size_t>(layout.size()));
  for (size_t p = 0; p < layout.planes.size(); ++p) {
    const auto& plane = layout.planes[p];
    const bool has_time = kPairs[p % 6][1] == 3;
    const int64_t end = plane.offset + int64_t{plane.rows} * plane.columns * layout.channels;
    const uint64_t drawn = random.position();
    parallel_for(end - plane.offset, 1 << 16, [&](int64_t from, int64_t to) {
      Philox own = random;
      own.seek(drawn + static_cast<uint64_t>(from));
      for (int64_t i = from; i < to; ++i)
        texels[static_cast<size_t>(plane.offset + i)] = has_time ? 1.0f : 0.1f + 0.4f * own.uniform();
    });
    if (!has_time) random.seek(drawn + static_cast<uint64_t>(end - plane.offset));
  }
  grid.copy_from_host(texels.data(), grid.bytes());

  std::vector<float> weights(static_cast<size_t>(network.count()));
  auto draw = [&](const Layer& layer, bool zero) {
    const float xavier = zero ? 0.0f : std::sqrt(6.0f / static_cast<float>(layer.in + layer.out));
    const float bias = zero ? 0.0f : 1 / std::sqrt(static_cast<float>(layer.in));
    for (int64_t i = 0; i < int64_t{layer.in} * layer.out; ++i)
      weights[static_cast<size_t>(layer.weight + i)] = xavier * (2 * random.uniform() - 1);
    for (int i = 0; i < layer.out; ++i)
      weights[static_cast<size_t>(layer.bias + i)] = bias * (2 * random.uniform() - 1);
  };
  for (const Layer& layer : trunk) draw(layer, false);
  for (size_t i = 0; i < head_layers.size(); ++i) draw(head_layers[i], zero_start_ && i % 2 == 1);
  network.copy_from_host(weights.data(), network.bytes());

  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float corners[6] = {-kInfinity, -kInfinity, -kInfinity, kInfinity, kInfinity, kInfinity};
  for (size_t i = 0; i < positions.size(); ++i) {
    corners[i % 3] = std::max(corners[i % 3], positions[i]);
    corners[3 + i % 3] = std::min(corners[3 + i % 3], positions[i]);
  }
  box.copy_from_host(corners, sizeof corners);
}

FieldDescription DeformationField::description() const {
  const auto place = [](const Layer& layer) {
    return DeformationNetworkLayout::Layer{layer.in, layer.out, layer.weight, layer.bias};
  };
  FieldDescription description{layout, {}};
  for (const Layer& layer : trunk) description.network.trunk.push_back(place(layer));
  for (size_t head = 0; head < kHeadCount; ++head)
    description.network.heads.push_back({place(head_layers[2 * head]), place(head_layers[2 * head + 1])});
  return description;
}

DeformationField DeformationField::clone() const {
  DeformationField copy = *this;
  for (Tensor* tensor : {&copy.grid, &copy.box, &copy.network}) *tensor = tensor->clone();
  return copy;
}

}  // namespace eg4d
