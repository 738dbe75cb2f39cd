// The deformation network's weights in the forms that Hopper's kernels read.

#include "backend/cuda/check.h"
#include "backend/cuda/deformation_network_hopper.cuh"

namespace eg4d::cuda::hopper {
namespace {

struct Packing {
  struct Layer {
    const float *weight, *bias;
    int in, out, first_panel;
  } layer[kMostHeads + kMostTrunk];
  struct Last {
    const float* weight;
    int out;
  } last[kMostHeads];
  int layers, heads, panels, width;
  bool backward;
  char* slabs;
  float* biases;
  uint32_t* last_to;
};
constexpr int kPackedRows = 32;  // of a block

template <int kParts>
__device__ Pair<kParts> weight_pair(bool backward, float first, float second) {
  if constexpr (kParts == 2)
    if (!backward) return split_half(kWeightScale * first, kWeightScale * second);
  return split<kParts>(first, second);
}

// Some rows of the slabs of one panel.
template <int kParts>
__device__ void pack_panel(const Packing& p, int panel, int first_row) {
  int i = 0;
  while (i + 1 < p.layers && p.layer[i + 1].first_panel <= panel) ++i;
  const Packing::Layer& layer = p.layer[i];
  const int first = (panel - layer.first_panel) * kPanelColumns, thread = static_cast<int>(threadIdx.x);
  // Columns of the matrix become rows of the slab.
  __shared__ float transposed[kPanelColumns][kPackedRows + 1];
  if (p.backward) {
    for (int i = thread; i < kPanelColumns * kPackedRows; i += 256) {
      const int out = first + i / kPackedRows, in = first_row + i % kPackedRows;
      transposed[i / kPackedRows][i % kPackedRows] =
          out < layer.out && in < layer.in ? layer.weight[int64_t{out} * layer.in + in] : 0.0f;
    }
    __syncthreads();
  }
  const auto at = [&](int row, int column) {
    if (p.backward) return transposed[column][row];
    const int out = first_row + row, in = first + column;
    return out < layer.out && in < layer.in ? layer.weight[int64_t{out} * layer.in + in] : 0.0f;
  };
  constexpr int kPairs = kPanelColumns / 2;
#pragma unroll
  for (int k = 0; k < kPackedRows * kPairs / 256; ++k) {
    const int row = (thread + 256 * k) / kPairs, column = thread % kPairs * 2;
    const Pair<kParts> both = weight_pair<kParts>(p.backward, at(row, column), at(row, column + 1));
#pragma unroll
    for (int part = 0; part < kParts; ++part)
      *reinterpret_cast<uint32_t*>(p.slabs + (int64_t{panel} * kParts + part) * p.width * kPanelRowBytes +
                                   in_panel(first_row + row, column)) = both.part[part];
  }
}

template <int kParts>
__device__ void pack_last(const Packing& p, int head) {
  const Packing::Last& last = p.last[head];
  const auto at = [&](int o, int column) {
    return o < last.out ? last.weight[int64_t{o} * p.width + column] : 0.0f;
  };
  const int units = 4 * p.width;
  for (int i = static_cast<int>(threadIdx.x); i < units; i += 256) {
    if (p.backward) {
      const Pair<kParts> pair = split<kParts>(at(i % 4 * 2, i / 4), at(i % 4 * 2 + 1, i / 4));
      for (int part = 0; part < kParts; ++part)
        p.last_to[(head * kParts + part) * units + i] = pair.part[part];
    } else {
      const int o = i / 8 % 8, column = i / 64 * 16 + i % 2 * 8 + i / 2 % 4 * 2;
      const Pair<2> pair = split<2>(at(o, column), at(o, column + 1));
      for (int part = 0; part < 2; ++part) p.last_to[(head * 2 + part) * units + i] = pair.part[part];
    }
  }
}

template <int kParts>
__global__ void __launch_bounds__(256) pack_kernel(const __grid_constant__ Packing p) {
  const int block = static_cast<int>(blockIdx.x);
  if (block < p.panels) return pack_panel<kParts>(p, block, static_cast<int>(blockIdx.y) * kPackedRows);
  if (blockIdx.y > 0) return;
  if (block < p.panels + p.heads) return pack_last<kParts>(p, block - p.panels);
  const int layer = block - p.panels - p.heads, i = static_cast<int>(threadIdx.x);
  if (i < p.width)
    p.biases[layer * p.width + i] = p.layer[layer].bias[i / 16 * 16 + i / 4 % 4 * 2 + i % 2 + i / 2 % 2 * 8];
}

}  // namespace

size_t packed_bytes(const Shape& shape, int parts) {
  const int64_t heads = static_cast<int64_t>(shape.heads.size()), layers = heads + shape.trunk,
                width = shape.width;
  return static_cast<size_t>(layers * width * (width * parts * 2 + 4) + heads * width * 32);
}

Packed pack(const std::vector<const DenseLayer*>& layers, const Shape& shape, int parts, bool backward,
            void* memory, cudaStream_t stream) {
  Packing p{};
  p.width = shape.width;
  p.backward = backward;
  for (const DenseLayer* layer : layers) {
    p.layer[p.layers++] = {layer->weight, layer->bias, layer->in, layer->out, p.panels};
    p.panels += ((backward ? layer->out : layer->in) + kPanelColumns - 1) / kPanelColumns;
  }
  for (const Shape::Head& head : shape.heads)
    p.last[p.heads++] = {head.head->last.weight, head.head->last.out};
  p.slabs = static_cast<char*>(memory);
  p.biases = reinterpret_cast<float*>(p.slabs + int64_t{p.layers} * p.width * p.width * parts * 2);
  p.last_to = reinterpret_cast<uint32_t*>(p.biases + int64_t{p.layers} * p.width);
  const dim3 grid{static_cast<unsigned>(p.panels + p.heads + (backward ? 0 : p.layers)),
                  static_cast<unsigned>(p.width / kPackedRows)};
  (parts == 2 ? pack_kernel<2> : pack_kernel<1>)<<<grid, 256, 0, stream>>>(p);
  check_launch("rounding weights");
  return {p.slabs, reinterpret_cast<const float4*>(p.biases), p.last_to};
}

}  // namespace eg4d::cuda::hopper
