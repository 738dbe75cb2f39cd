#pragma once

// What deformation_network_forward and deformation_network_backward share.

#include <cstdint>
#include <vector>

#include "backend/cpu/dense_kernels.h"
#include "backend/cpu/device_array.h"
#include "backend/splat_ops.h"

namespace eg4d::cpu {

// Rows handled together: their activations stay in the second-level cache while they pass through the layers.
inline constexpr int64_t kNetworkRows = 256;

// Kept activations are, one dense [N,out] array after the other, the values after the ReLU that follows every
// trunk layer and the hidden layer of every head that is evaluated. Offsets are in units of N floats.
struct HeadActivations {
  int64_t offset[DeformationNetworkLayout::kMostHeads] = {};  // -1 for a head without output
  int64_t width = 0;                                          // floats per row in all
};

class CpuFieldContext final : public FieldContext {
 public:
  CpuFieldContext(Memory& memory, const FieldDescription& of);
  void reserve(const DeformationNetwork& network) override;
  HeadActivations head_activations(const DeformationNetwork& network) const;

  std::vector<int64_t> trunk_offsets;
  int64_t trunk_width = 0;  // floats per row
  DeviceArray<float> activations;
};

inline CpuFieldContext& context_of(const DeformationNetwork& network) {
  return static_cast<CpuFieldContext&>(*network.context);
}

inline DenseLayer dense_layer(const DeformationNetworkLayout::Layer& layer, const float* weights) {
  return {layer.in, layer.out, weights + layer.weight, weights + layer.bias};
}

}  // namespace eg4d::cpu
