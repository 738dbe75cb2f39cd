#pragma once

// The deformation network in bf16: its shapes, memory, and what its kernels share. A block of 8 warps takes
// 128 rows (Gaussians) through all layers; a warp has 64 rows and a quarter of the columns. Weights come
// through shared memory in slabs, [width, 64] of one layer's matrix.

#include <vector>

#include "backend/cuda/deformation_network.cuh"
#include "backend/cuda/tensor_core.cuh"

namespace eg4d::cuda::bf16 {

using Number = __nv_bfloat16;

inline constexpr int kThreads = 256, kRows = 128, kSlab = 64;
inline constexpr int kSlabUnits = kSlab / 8;
inline constexpr int kMostHeads = 16, kMostTrunk = 8, kMostOutputs = 8;
inline constexpr int kMostSources = kMostHeads + kMostTrunk;  // layers whose outputs have derivatives

struct WarpPlace {
  int row, column;  // of 64 rows, and a quarter of the columns
};
template <int kWidth>
__device__ WarpPlace warp_place() {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  return {warp / 4 * 64, warp % 4 * (kWidth / 4)};
}
__device__ inline int own_lane() {
  return static_cast<int>(threadIdx.x) % 32;
}

template <int kWidth>
using Results = float[4][kWidth / 32][4];

// results += rows of a tile [128, kWidth] · slab (whose rows are columns of the result); the tile's columns
// begin at `unit`.
template <int kWidth>
__device__ void multiply_slab(const uint4* tile, int unit, const uint4* slab, const WarpPlace& place,
                              int lane, Results<kWidth>& results) {
#pragma unroll
  for (int deep = 0; deep < kSlab / 16; ++deep) {
    uint32_t a[4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      load_matrices(
          a[i], tile + swizzled(place.row + 16 * i + (lane & 15), unit + 2 * deep + (lane >> 4), kWidth / 8));
#pragma unroll
    for (int j = 0; j < kWidth / 64; ++j) {
      uint32_t b[4];
      load_matrices(b, slab + swizzled(place.column + 16 * j + (lane >> 4) * 8 + (lane & 7),
                                       2 * deep + ((lane >> 3) & 1), kSlabUnits));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        multiply_add(results[i][2 * j], a[i], b[0], b[1]);
        multiply_add(results[i][2 * j + 1], a[i], b[2], b[3]);
      }
    }
  }
}
template <int kWidth>
__device__ void clear(Results<kWidth>& results) {
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < kWidth / 32; ++j)
#pragma unroll
      for (int part = 0; part < 4; ++part) results[i][j][part] = 0;
}
template <int kWidth>
__device__ void load_slab(uint4* to, const uint4* from) {
#pragma unroll
  for (int i = 0; i < kWidth * kSlabUnits / kThreads; ++i) {
    const int unit = static_cast<int>(threadIdx.x) + i * kThreads;
    copy_unit_async(to + swizzled(unit / kSlabUnits, unit % kSlabUnits, kSlabUnits), from + unit, true);
  }
}

// The four bytes of a tile [·, kWidth] that hold columns `column` (even) and the next.
template <int kWidth>
__device__ uint32_t& pair_in_tile(uint4* tile, int row, int column) {
  return reinterpret_cast<uint32_t*>(tile + swizzled(row, column / 8, kWidth / 8))[column % 8 / 2];
}

// The shapes of a network, and where its numbers lie in the activations.
class Shape {
 public:
  Shape(const Mlp& network, bool backward);
  int width = 0, in = 0, padded_in = 0;  // features, up to the next multiple of a slab
  int64_t rows = 0;
  int trunk = 0;
  struct Head {
    const Mlp::Head* head;
    int64_t hidden;  // number of its array in the activations
  };
  std::vector<Head> heads;
  int64_t arrays = 0;  // [rows, width] in the activations; the copy of the features follows
  int slabs_of_width() const { return width / kSlab; }
  int slabs_of_features() const { return padded_in / kSlab; }
  Number* array(void* activations, int64_t number) const {
    return static_cast<Number*>(activations) + number * rows * width;
  }
  int64_t row_blocks() const { return (rows + kRows - 1) / kRows; }
};

// Fills `to` with the slabs of layers, one after the other: the weight matrix's rows, or (backward) its
// columns.
void pack_slabs(const std::vector<const DenseLayer*>& layers, int width, bool transposed, void* to,
                cudaStream_t stream);

// Weight gradients: d_weight[out, in] = Σ_row derivative[row, out]·input[row, in], and the biases'.
struct Weights {
  int64_t rows;
  int splits;  // of the rows, each with sums of its own
  int layers;
  struct Layer {
    const Number *derivative, *input;
    int in, stride;             // columns of the input, and numbers from row to row
    float *parts, *bias_parts;  // [splits, out, in], [splits, out]
  } layer[kMostSources];
};
int weight_splits(const Shape& shape);
void weight_gradients(const Weights& weights, int width, cudaStream_t stream);

}  // namespace eg4d::cuda::bf16
