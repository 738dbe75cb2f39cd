#include <algorithm>
#include <vector>

#include "backend/cpu/deformation_network.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/splat_kernels.h"
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

// y[rows,out] = x[rows,in]·Wᵀ + b, then max(·,0) when relu.
void dense(const DenseLayer& layer, const float* x, int64_t rows, float* y, bool relu) {
  for (int64_t row = 0; row < rows; ++row) std::copy_n(layer.bias, layer.out, y + row * layer.out);
  gemm({.m = rows,
        .n = layer.out,
        .k = layer.in,
        .a = x,
        .lda = layer.in,
        .b = layer.weight,
        .ldb = layer.in,
        .transpose_b = true,
        .c = y,
        .ldc = layer.out,
        .beta = 1});
  if (!relu) return;
  for (int64_t i = 0; i < rows * layer.out; ++i) y[i] = y[i] > 0 ? y[i] : 0;
}

}  // namespace

void deformation_network_forward(const DeformationNetwork& network) {
  const NetworkActivations layout = network_activations(network);
  parallel_for(network.count, kNetworkRows, [&](int64_t begin, int64_t end) {
    const int64_t rows = end - begin;
    std::vector<float> scratch(network.activations ? 0 : static_cast<size_t>(rows * layout.width));
    const auto activation = [&](int64_t offset, int out) {
      return network.activations ? network.activations + offset * network.count + begin * out
                                 : scratch.data() + offset * rows;
    };
    const float* x = network.features + begin * network.trunk.front().in;
    for (size_t i = 0; i < network.trunk.size(); ++i) {
      float* y = activation(layout.trunk[i], network.trunk[i].out);
      dense(network.trunk[i], x, rows, y, true);
      x = y;
    }
    for (size_t i = 0; i < network.heads.size(); ++i) {
      const DeformationNetwork::Head& head = network.heads[i];
      if (!head.output) continue;
      float* hidden = activation(layout.heads[i], head.hidden.out);
      dense(head.hidden, x, rows, hidden, true);
      dense(head.last, hidden, rows, head.output + begin * head.last.out, false);
    }
  });
}

}  // namespace cpu

int64_t deformation_network_activations(const DeformationNetwork& network) {
  return network.count * cpu::network_activations(network).width;
}

}  // namespace eg4d
