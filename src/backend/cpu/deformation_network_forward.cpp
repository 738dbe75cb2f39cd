#include <algorithm>

#include "backend/cpu/deformation_network.h"
#include "backend/cpu/dense_kernels.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/splat_kernels.h"
#include "backend/cpu/thread_scratch.h"
#include "core/threads.h"

namespace eg4d {
namespace cpu {

NetworkActivations network_activations(const DeformationNetwork& network) {
  NetworkActivations layout;
  for (const DenseLayer& layer : network.trunk) {
    layout.trunk.push_back(layout.width);
    layout.width += layer.out;
  }
  for (const DeformationNetwork::Head& head : network.heads) {
    layout.heads.push_back(head.output ? layout.width : -1);
    if (head.output) layout.width += head.hidden.out;
  }
  return layout;
}

namespace {

enum ScratchUse { kTrunkEven, kTrunkOdd, kHidden };

// y[rows,out] = max(x·Wᵀ + b, 0)
void dense_relu(const DenseLayer& layer, const float* x, int64_t rows, float* y) {
  gemm({.m = rows,
        .n = layer.out,
        .k = layer.in,
        .a = x,
        .lda = layer.in,
        .b = layer.weight,
        .ldb = layer.in,
        .transpose_b = true,
        .c = y,
        .ldc = layer.out});
  add_bias_relu(layer.bias, rows, layer.out, y);
}

void forward_rows(const DeformationNetwork& network, const NetworkActivations& layout, int64_t begin,
                  int64_t end) {
  const int64_t rows = end - begin;
  // Kept for the backward pass, else passing.
  const auto activation = [&](int64_t offset, int out, ScratchUse slot) {
    return network.activations ? network.activations + offset * network.count + begin * out
                               : scratch(slot, rows * out);
  };
  const float* x = network.features + begin * network.trunk.front().in;
  for (size_t i = 0; i < network.trunk.size(); ++i) {
    float* y = activation(layout.trunk[i], network.trunk[i].out, i % 2 == 0 ? kTrunkEven : kTrunkOdd);
    dense_relu(network.trunk[i], x, rows, y);
    x = y;
  }
  for (size_t i = 0; i < network.heads.size(); ++i) {
    const DeformationNetwork::Head& head = network.heads[i];
    if (!head.output) continue;
    float* hidden = activation(layout.heads[i], head.hidden.out, kHidden);
    dense_relu(head.hidden, x, rows, hidden);
    narrow_layer_forward(head.last, hidden, rows, head.output + begin * head.last.out);
  }
}

}  // namespace

void deformation_network_forward(const DeformationNetwork& network) {
  const NetworkActivations layout = network_activations(network);
  parallel_for(network.count, kNetworkRows,
               [&](int64_t begin, int64_t end) { forward_rows(network, layout, begin, end); });
}

}  // namespace cpu

int64_t deformation_network_activations(const DeformationNetwork& network) {
  return network.count * cpu::network_activations(network).width;
}

}  // namespace eg4d
