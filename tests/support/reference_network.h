#pragma once

// Deformation networks under the key names and in the layouts of the reference's checkpoints.

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "io/safetensors.h"
#include "nn/tensor.h"

namespace eg4d::test {

struct NamedTensor {
  Shape shape;
  std::vector<float> values;
};
using NamedTensors = std::map<std::string, NamedTensor>;

NamedTensors tensors_from_file(const SafetensorsFile& file);
// {"name": {"k", "s", "add", "shape"}, …}: the integer hash of golden/NOTES.md.
NamedTensors tensors_from_hash(const nlohmann::json& weights);

// Plane [1,C,rows,columns] of the reference ↔ our texels [rows,columns,C].
std::vector<float> to_channels_last(const NamedTensor& plane);
NamedTensor from_channels_last(const std::vector<float>& texels, int64_t channels, int64_t rows,
                               int64_t columns);

// The network in device memory with its gradients (zero at first).
class ReferenceNetwork {
 public:
  // Takes "deformation_net.grid.aabb", "….grid.grids.L.P", "….feature_out.{0,2,…}.{weight,bias}" and the
  // heads "….<head>.{1,3}.{weight,bias}"; what is missing among the heads is left out.
  ReferenceNetwork(Backend& backend, const NamedTensors& tensors);

  const HexPlaneLayout& layout() const { return layout_; }
  const Tensor& grid() const { return grid_; }
  const Tensor& box() const { return box_; }
  // Index of a head ("pos_deform", "scales_deform", …) in DeformationNetworkLayout::heads; -1 when there is
  // none.
  int head(const std::string& name) const;

  FieldDescription description() const;
  // Grid and box, or weights, and their gradients are filled in, the rest is the caller's.
  HexPlaneBackward field() const;
  DeformationNetworkBackward network() const;

  // All parameters, or their gradients, in the reference's layouts.
  NamedTensors parameters() const { return named(false); }
  NamedTensors gradients() const { return named(true); }
  // The planes of something of the grid's size.
  NamedTensors planes(const std::vector<float>& texels) const;

 private:
  struct Layer {
    std::string key;  // without ".weight"
    DeformationNetworkLayout::Layer place;
  };
  static Layer load_layer(const NamedTensors& tensors, const std::string& key, std::vector<float>& weights);
  NamedTensors named(bool gradient) const;

  HexPlaneLayout layout_;
  std::vector<std::string> plane_keys_;
  Tensor grid_, d_grid_, box_, d_box_, weights_, d_weights_;
  std::vector<Layer> trunk_;
  std::vector<std::string> head_names_;
  std::vector<std::pair<Layer, Layer>> heads_;
};

}  // namespace eg4d::test
