#pragma once

// What deformation_network_forward and deformation_network_backward share.

#include <cstdint>
#include <vector>

#include "backend/splat_ops.h"

namespace eg4d::cpu {

// Rows handled together: their activations stay in the second-level cache while they pass through the layers.
inline constexpr int64_t kNetworkRows = 256;

// `activations` holds, one dense [N,out] array after the other, the values after the ReLU that follows every
// trunk layer and the hidden layer of every head that is evaluated.
struct NetworkActivations {
  std::vector<int64_t> trunk, heads;  // offsets in units of N floats; -1 for a head without output
  int64_t width = 0;                  // floats per row in all
};
NetworkActivations network_activations(const DeformationNetwork& network);

}  // namespace eg4d::cpu
