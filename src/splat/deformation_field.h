#pragma once

#include <string>
#include <vector>

#include "backend/splat_ops.h"
#include "core/random.h"
#include "nn/tensor.h"
#include "splat/options.h"

namespace eg4d {

// The six outputs of the deformation network, in the order of its heads.
enum class Head { position, log_scale, quaternion, opacity, gain, bias };
inline constexpr int kHeadCount = 6;
inline constexpr int kHeadWidths[kHeadCount] = {3, 3, 4, 1, 1, 3};

// The deformation field's parameters: one hexplane, its box, and all linear layers in one dense tensor, so
// that one optimiser call serves each. (HexPlane: Cao & Johnson, CVPR 2023; network: 4D Gaussian splatting as
// EG4D uses it.)
class DeformationField {
 public:
  DeformationField() = default;
  DeformationField(Backend& backend, const ReconstructOptions& options);

  // Spatial planes U(0.1,0.5), planes with time 1, linear weights Xavier-uniform, biases as PyTorch's Linear
  // draws them U(±1/√in); box corners [max; min] of the given points.
  void initialize(const std::vector<float>& positions, Philox& random);

  // The grid_sample coordinate of a time in [0,1].
  float time_coordinate(float time) const { return full_time_axis_ ? 2 * time - 1 : time; }

  // For the backend.
  FieldDescription description() const;

  // One linear layer's place in `network`: weight [out,in] at `weight`, bias [out] at `bias` (offsets in
  // floats). The name is the reference checkpoint's: "feature_out.0", "pos_deform.1", "pos_deform.3", …
  struct Layer {
    std::string name;
    int in = 0, out = 0;
    int64_t weight = 0, bias = 0;
  };

  HexPlaneLayout layout;
  Tensor grid;     // [layout.size()]
  Tensor box;      // [2,3]
  Tensor network;  // all layers
  std::vector<Layer> trunk;
  std::vector<Layer> head_layers;  // kHeadCount × {hidden, last}

  // The length of `network` with these options, without making it.
  static int64_t network_size(const ReconstructOptions& options);

  bool defined() const { return grid.defined(); }
  DeformationField clone() const;

 private:
  bool full_time_axis_ = false;
  bool zero_start_ = false;
};

HexPlaneLayout hexplane_layout(int channels, int resolution, const std::vector<int>& levels,
                               int time_resolution);

}  // namespace eg4d
