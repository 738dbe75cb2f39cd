#include "splat/reference_format.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"

namespace eg4d {
namespace {

constexpr const char* kPrefix = "deformation_net.";

const NamedFloats& at(const StateDict& state, const std::string& name) {
  const auto found = state.find(name);
  if (found == state.end()) throw Error(fmt::format("the deformation checkpoint has no '{}'", name));
  return found->second;
}

const NamedFloats& at(const StateDict& state, const std::string& name, const Shape& shape) {
  const NamedFloats& tensor = at(state, name);
  if (tensor.shape != shape)
    throw Error(fmt::format("the deformation checkpoint's '{}' has shape {}, expected {}", name,
                            to_string(tensor.shape), to_string(shape)));
  return tensor;
}

std::string grid_name(int level, int plane) {
  return fmt::format("{}grid.grids.{}.{}", kPrefix, level, plane);
}

std::vector<const DeformationField::Layer*> layers(const DeformationField& field) {
  std::vector<const DeformationField::Layer*> all;
  for (const auto& layer : field.trunk) all.push_back(&layer);
  for (const auto& layer : field.head_layers) all.push_back(&layer);
  return all;
}

// Models trained without predict_color_deform have no colour heads.
bool has_color_heads(const StateDict& state) {
  return state.count(std::string(kPrefix) + "color_deform_w.1.weight") != 0;
}

// A few small tensors could ask for a field of any size: it is as large as all tensors together, or a third
// larger where there are no colour heads.
void check_room(const StateDict& state, const ReconstructOptions& options) {
  int64_t stored = 0;
  for (const auto& [name, tensor] : state) stored += static_cast<int64_t>(tensor.values.size());
  const auto& plane = options.hexplane;
  const int64_t needed =
      hexplane_layout(plane.channels, plane.resolution, plane.levels, plane.time_resolution).size() +
      DeformationField::network_size(options);
  if (needed / 2 > stored)
    throw Error(
        fmt::format("the deformation checkpoint's tensors do not fit each other: a field of {} numbers "
                    "follows from some, there are {}",
                    needed, stored));
}

}  // namespace

void field_options_from_state(const StateDict& state, ReconstructOptions& options) {
  const auto grid_shape = [&](int level, int plane) {
    const NamedFloats& grid = at(state, grid_name(level, plane));
    if (grid.shape.size() != 4 || grid.shape[0] != 1)
      throw Error(
          fmt::format("the deformation checkpoint's '{}' has shape {}, expected [1,channels,rows,columns]",
                      grid_name(level, plane), to_string(grid.shape)));
    for (int64_t extent : grid.shape)
      if (extent < 1 || extent > 16384)
        throw Error(
            fmt::format("the deformation checkpoint's '{}' has an impossible size", grid_name(level, plane)));
    return grid.shape;
  };
  const Shape first = grid_shape(0, 0);
  options.hexplane.channels = static_cast<int>(first[1]);
  options.hexplane.resolution = static_cast<int>(first[3]);
  options.hexplane.time_resolution = static_cast<int>(grid_shape(0, 2)[2]);
  options.hexplane.levels.clear();
  for (int level = 0; state.count(grid_name(level, 0)); ++level) {
    const int64_t columns = grid_shape(level, 0)[3];
    if (columns % first[3] != 0)
      throw Error(fmt::format("the deformation checkpoint's '{}' is not a multiple of the first level",
                              grid_name(level, 0)));
    options.hexplane.levels.push_back(static_cast<int>(columns / first[3]));
  }
  options.deformation.color = has_color_heads(state);
  options.deformation.depth = 0;
  std::string name;
  while (state.count(name = fmt::format("{}feature_out.{}.weight", kPrefix, 2 * options.deformation.depth))) {
    const Shape& shape = at(state, name).shape;
    if (shape.size() != 2 || shape[0] < 1 || shape[0] > 65536)
      throw Error(fmt::format("the deformation checkpoint's '{}' is not a matrix", name));
    options.deformation.width = static_cast<int>(shape[0]);
    ++options.deformation.depth;
  }
  if (options.deformation.depth == 0) at(state, name);  // throws
  check_room(state, options);
}

void load_field_state(DeformationField& field, const StateDict& state) {
  const NamedFloats& box = at(state, std::string(kPrefix) + "grid.aabb", {2, 3});
  field.box.copy_from_host(box.values.data(), field.box.bytes());

  const HexPlaneLayout& layout = field.layout;
  std::vector<float> texels(static_cast<size_t>(layout.size()));
  for (int level = 0; level < layout.levels(); ++level)
    for (int p = 0; p < 6; ++p) {
      const auto& plane = layout.planes[static_cast<size_t>(level * 6 + p)];
      const auto& from =
          at(state, grid_name(level, p), {1, layout.channels, plane.rows, plane.columns}).values;
      const size_t pixels = static_cast<size_t>(plane.rows) * static_cast<size_t>(plane.columns);
      const size_t channels = static_cast<size_t>(layout.channels);
      for (size_t c = 0; c < channels; ++c)
        for (size_t i = 0; i < pixels; ++i)
          texels[static_cast<size_t>(plane.offset) + i * channels + c] = from[c * pixels + i];
    }
  field.grid.copy_from_host(texels.data(), field.grid.bytes());

  std::vector<float> weights(static_cast<size_t>(field.network.count()));
  const bool color = has_color_heads(state);
  for (const DeformationField::Layer* layer : layers(field)) {
    if (!color && layer->name.starts_with("color_deform")) continue;
    const auto& weight = at(state, kPrefix + layer->name + ".weight", {layer->out, layer->in}).values;
    const auto& bias = at(state, kPrefix + layer->name + ".bias", {layer->out}).values;
    std::copy(weight.begin(), weight.end(), weights.begin() + layer->weight);
    std::copy(bias.begin(), bias.end(), weights.begin() + layer->bias);
  }
  field.network.copy_from_host(weights.data(), field.network.bytes());
}

StateDict field_state(const DeformationField& field) {
  StateDict state;
  state[std::string(kPrefix) + "grid.aabb"] = {{2, 3}, field.box.to_host()};
  const HexPlaneLayout& layout = field.layout;
  const std::vector<float> texels = field.grid.to_host(), weights = field.network.to_host();
  for (int level = 0; level < layout.levels(); ++level)
    for (int p = 0; p < 6; ++p) {
      const auto& plane = layout.planes[static_cast<size_t>(level * 6 + p)];
      const size_t pixels = static_cast<size_t>(plane.rows) * static_cast<size_t>(plane.columns);
      const size_t channels = static_cast<size_t>(layout.channels);
      NamedFloats grid{{1, layout.channels, plane.rows, plane.columns},
                       std::vector<float>(pixels * channels)};
      for (size_t c = 0; c < channels; ++c)
        for (size_t i = 0; i < pixels; ++i)
          grid.values[c * pixels + i] = texels[static_cast<size_t>(plane.offset) + i * channels + c];
      state[grid_name(level, p)] = std::move(grid);
    }
  const auto slice = [&](int64_t offset, int64_t count) {
    return std::vector<float>(weights.begin() + offset, weights.begin() + offset + count);
  };
  for (const DeformationField::Layer* layer : layers(field)) {
    state[kPrefix + layer->name + ".weight"] = {{layer->out, layer->in},
                                                slice(layer->weight, int64_t{layer->in} * layer->out)};
    state[kPrefix + layer->name + ".bias"] = {{layer->out}, slice(layer->bias, layer->out)};
  }
  const auto zeros = [&](const std::string& name, Shape shape) {
    std::vector<float> values(static_cast<size_t>(element_count(shape)), 0.0f);
    state[name] = {std::move(shape), std::move(values)};
  };
  zeros("timenet.0.weight", {64, 9});
  zeros("timenet.0.bias", {64});
  zeros("timenet.2.weight", {32, 64});
  zeros("timenet.2.bias", {32});
  const std::pair<const char*, int> frequencies[] = {
      {"time_poc", 4}, {"pos_poc", 10}, {"rotation_scaling_poc", 2}, {"opacity_poc", 2}};
  for (const auto& [name, count] : frequencies) {
    NamedFloats buffer{{count}, {}};
    for (int i = 0; i < count; ++i) buffer.values.push_back(std::ldexp(1.0f, i));
    state[name] = std::move(buffer);
  }
  return state;
}

}  // namespace eg4d
