#include "support/reference_network.h"

#include <algorithm>

#include "support/golden.h"

namespace eg4d::test {
namespace {

const std::string kPrefix = "deformation_net.";
const char* const kHeads[] = {"pos_deform",     "scales_deform",  "rotations_deform",
                              "opacity_deform", "color_deform_w", "color_deform_b"};

}  // namespace

NamedTensors tensors_from_file(const SafetensorsFile& file) {
  NamedTensors tensors;
  for (const auto& [name, entry] : file.entries()) tensors[name] = {entry.shape, file.floats(name)};
  return tensors;
}

NamedTensors tensors_from_hash(const nlohmann::json& weights) {
  NamedTensors tensors;
  for (const auto& [name, hash] : weights.items()) {
    const Shape shape = hash.at("shape").get<Shape>();
    tensors[name] = {shape,
                     hash_tensor(hash.at("k").get<uint32_t>(), static_cast<size_t>(element_count(shape)),
                                 hash.at("s").get<float>(), hash.value("add", 0.0f))};
  }
  return tensors;
}

std::vector<float> to_channels_last(const NamedTensor& plane) {
  const int64_t channels = plane.shape.at(1), texels = plane.shape.at(2) * plane.shape.at(3);
  std::vector<float> out(plane.values.size());
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t t = 0; t < texels; ++t) out[t * channels + c] = plane.values[c * texels + t];
  return out;
}

NamedTensor from_channels_last(const std::vector<float>& texels, int64_t channels, int64_t rows,
                               int64_t columns) {
  NamedTensor plane{{1, channels, rows, columns}, std::vector<float>(texels.size())};
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t t = 0; t < rows * columns; ++t)
      plane.values[c * rows * columns + t] = texels[t * channels + c];
  return plane;
}

ReferenceNetwork::ReferenceNetwork(Backend& backend, const NamedTensors& tensors) {
  std::vector<float> grid;
  for (int level = 0;; ++level) {
    const std::string key = kPrefix + "grid.grids." + std::to_string(level) + ".";
    if (!tensors.contains(key + "0")) break;
    for (int p = 0; p < 6; ++p) {
      const NamedTensor& plane = tensors.at(key + std::to_string(p));
      plane_keys_.push_back(key + std::to_string(p));
      layout_.channels = static_cast<int>(plane.shape.at(1));
      layout_.planes.push_back({static_cast<int64_t>(grid.size()), static_cast<int>(plane.shape.at(2)),
                                static_cast<int>(plane.shape.at(3))});
      const std::vector<float> texels = to_channels_last(plane);
      grid.insert(grid.end(), texels.begin(), texels.end());
    }
  }
  grid_ = Tensor::from_host(backend, {layout_.size()}, grid);
  d_grid_ = Tensor::zeros(backend, {layout_.size()});
  box_ = Tensor::from_host(backend, {2, 3}, tensors.at(kPrefix + "grid.aabb").values);
  d_box_ = Tensor::zeros(backend, {2, 3});
  std::vector<float> weights;
  for (int i = 0; tensors.contains(kPrefix + "feature_out." + std::to_string(i) + ".weight"); i += 2)
    trunk_.push_back(load_layer(tensors, kPrefix + "feature_out." + std::to_string(i), weights));
  for (const std::string name : kHeads) {
    if (!tensors.contains(kPrefix + name + ".1.weight")) continue;
    head_names_.push_back(name);
    Layer hidden = load_layer(tensors, kPrefix + name + ".1", weights);
    heads_.emplace_back(std::move(hidden), load_layer(tensors, kPrefix + name + ".3", weights));
  }
  weights_ = Tensor::from_host(backend, {static_cast<int64_t>(weights.size())}, weights);
  d_weights_ = Tensor::zeros(backend, weights_.shape());
}

ReferenceNetwork::Layer ReferenceNetwork::load_layer(const NamedTensors& tensors, const std::string& key,
                                                     std::vector<float>& weights) {
  const NamedTensor &weight = tensors.at(key + ".weight"), &bias = tensors.at(key + ".bias");
  Layer layer{key, {static_cast<int>(weight.shape.at(1)), static_cast<int>(weight.shape.at(0)), 0, 0}};
  layer.place.weight = static_cast<int64_t>(weights.size());
  weights.insert(weights.end(), weight.values.begin(), weight.values.end());
  layer.place.bias = static_cast<int64_t>(weights.size());
  weights.insert(weights.end(), bias.values.begin(), bias.values.end());
  return layer;
}

int ReferenceNetwork::head(const std::string& name) const {
  const auto found = std::find(head_names_.begin(), head_names_.end(), name);
  return found == head_names_.end() ? -1 : static_cast<int>(found - head_names_.begin());
}

FieldDescription ReferenceNetwork::description() const {
  FieldDescription description{layout_, {}};
  for (const Layer& layer : trunk_) description.network.trunk.push_back(layer.place);
  for (const auto& [hidden, last] : heads_) description.network.heads.push_back({hidden.place, last.place});
  return description;
}

HexPlaneBackward ReferenceNetwork::field() const {
  HexPlaneBackward field;
  field.forward.grid = grid_.data();
  field.forward.box = box_.data();
  field.d_grid = d_grid_.data();
  field.d_box = d_box_.data();
  return field;
}

DeformationNetworkBackward ReferenceNetwork::network() const {
  DeformationNetworkBackward network;
  network.forward.weights = weights_.data();
  network.d_weights = d_weights_.data();
  return network;
}

NamedTensors ReferenceNetwork::planes(const std::vector<float>& texels) const {
  NamedTensors tensors;
  for (size_t i = 0; i < plane_keys_.size(); ++i) {
    const HexPlaneLayout::Plane& plane = layout_.planes[i];
    const auto begin = texels.begin() + plane.offset;
    tensors[plane_keys_[i]] =
        from_channels_last({begin, begin + int64_t{plane.rows} * plane.columns * layout_.channels},
                           layout_.channels, plane.rows, plane.columns);
  }
  return tensors;
}

NamedTensors ReferenceNetwork::named(bool gradient) const {
  NamedTensors tensors = planes((gradient ? d_grid_ : grid_).to_host());
  const std::vector<float> weights = (gradient ? d_weights_ : weights_).to_host();
  const auto add_layer = [&](const Layer& layer) {
    const auto& [in, out, weight, bias] = layer.place;
    const auto begin = weights.begin() + weight, end = weights.begin() + bias;
    tensors[layer.key + ".weight"] = {{out, in}, {begin, begin + int64_t{in} * out}};
    tensors[layer.key + ".bias"] = {{out}, {end, end + out}};
  };
  for (const Layer& layer : trunk_) add_layer(layer);
  for (const auto& [hidden, last] : heads_) {
    add_layer(hidden);
    add_layer(last);
  }
  tensors[kPrefix + "grid.aabb"] = {{2, 3}, (gradient ? d_box_ : box_).to_host()};
  return tensors;
}

}  // namespace eg4d::test
