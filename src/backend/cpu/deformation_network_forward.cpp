#include <algorithm>

#include "backend/cpu/deformation_network.h"
#include "backend/cpu/dense_kernels.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/splat_kernels.h"
#include "backend/cpu/thread_scratch.h"
#include "core/threads.h"

namespace eg4d::cpu {

CpuFieldContext::CpuFieldContext(Memory& memory, const FieldDescription& of)
    : FieldContext(of), activations(memory) {
  for (const DeformationNetworkLayout::Layer& layer : of.network.trunk) {
    trunk_offsets.push_back(trunk_width);
    trunk_width += layer.out;
  }
}

HeadActivations CpuFieldContext::head_activations(const DeformationNetwork& network) const {
  HeadActivations heads;
  heads.width = trunk_width;
  for (size_t i = 0; i < description.network.heads.size(); ++i) {
    heads.offset[i] = network.outputs[i] ? heads.width : -1;
    if (network.outputs[i]) heads.width += description.network.heads[i].hidden.out;
  }
  return heads;
}

void CpuFieldContext::reserve(const DeformationNetwork& network) {
  if (network.keep) activations.resize(network.count * head_activations(network).width);
}

std::unique_ptr<FieldContext> create_field_context(Memory& memory, const FieldDescription& of) {
  return std::make_unique<CpuFieldContext>(memory, of);
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

void forward_rows(const DeformationNetwork& network, const HeadActivations& kept, int64_t begin,
                  int64_t end) {
  CpuFieldContext& context = context_of(network);
  const DeformationNetworkLayout& layout = context.description.network;
  const int64_t rows = end - begin;
  // Kept for the backward pass, else passing.
  const auto activation = [&](int64_t offset, int out, ScratchUse slot) {
    return network.keep ? context.activations.data() + offset * network.count + begin * out
                        : scratch(slot, rows * out);
  };
  const float* x = network.features + begin * layout.trunk.front().in;
  for (size_t i = 0; i < layout.trunk.size(); ++i) {
    const DenseLayer layer = dense_layer(layout.trunk[i], network.weights);
    float* y = activation(context.trunk_offsets[i], layer.out, i % 2 == 0 ? kTrunkEven : kTrunkOdd);
    dense_relu(layer, x, rows, y);
    x = y;
  }
  for (size_t i = 0; i < layout.heads.size(); ++i) {
    if (!network.outputs[i]) continue;
    const DenseLayer first = dense_layer(layout.heads[i].hidden, network.weights),
                     last = dense_layer(layout.heads[i].last, network.weights);
    float* hidden = activation(kept.offset[i], first.out, kHidden);
    dense_relu(first, x, rows, hidden);
    narrow_layer_forward(last, hidden, rows, network.outputs[i] + begin * last.out);
  }
}

}  // namespace

void deformation_network_forward(const DeformationNetwork& network) {
  CpuFieldContext& context = context_of(network);
  context.reserve(network);
  const HeadActivations kept = context.head_activations(network);
  parallel_for(network.count, kNetworkRows,
               [&](int64_t begin, int64_t end) { forward_rows(network, kept, begin, end); });
}

}  // namespace eg4d::cpu
