#pragma once

// The deformation network on Hopper's tensor cores: its memory, and what its
// kernels share.
//
// Numbers are bf16, in one part, or in two (`kParts`): the second is what
// rounding to the first left, also as bf16. A product of two-part numbers is
// three of bf16 (first·first, second·first, first·second), and has f32's
// accuracy but for relative errors of 2⁻¹⁷.
//
// A warpgroup takes 64 rows (Gaussians), a unit, through all layers. Their
// activations lie in shared memory as panels (warpgroup.cuh), [part][panel of
// 64 columns][row], and in the same form in memory. Weights come as slabs, [row
// of the result's columns][64], which all warpgroups of a block use; a warp of
// its own fetches them.

#include <cuda_fp16.h>

#include <algorithm>
#include <vector>

#include "backend/cuda/check.h"
#include "backend/cuda/deformation_network_bf16.cuh"
#include "backend/cuda/sm90/warpgroup.cuh"

namespace eg4d::cuda::hopper {

using bf16::kMostHeads, bf16::kMostOutputs, bf16::kMostSources, bf16::kMostTrunk, bf16::Shape;

inline constexpr int kUnitRows = 64, kPanelBytes = kUnitRows * kPanelRowBytes;
inline constexpr int kWarpgroups = 2, kThreads = 128 * (kWarpgroups + 1);
inline constexpr int kMostShared = 227 * 1024, kBarrierBytes = 256;

template <int kWidth>
inline constexpr int kPanels = kWidth / kPanelColumns;
template <int kWidth, int kParts>
inline constexpr int kUnitBytes = kParts* kPanels<kWidth>* kPanelBytes;
template <int kWidth>
inline constexpr int kSlabBytes = kWidth* kPanelRowBytes;
template <int kWidth>
inline constexpr int kBlocksAtOnce = kWidth == 64 ? 2 : 1;  // on a multiprocessor

// Shared memory: the tiles of both warpgroups, slabs, barriers.
template <int kWidth, int kParts>
inline constexpr int kTilesBytes = kWarpgroups* kUnitBytes<kWidth, kParts>;
template <int kWidth, int kParts>
inline constexpr int kStages = std::min(kWidth == 64 ? 4 : 6,
                                        (kMostShared - kBarrierBytes - kTilesBytes<kWidth, kParts>) /
                                            kSlabBytes<kWidth>);
template <int kWidth, int kParts>
inline constexpr int kSharedBytes =
    kTilesBytes<kWidth, kParts> + kStages<kWidth, kParts>* kSlabBytes<kWidth> + kBarrierBytes;

inline int64_t units_of(int64_t rows) {
  return (rows + kUnitRows - 1) / kUnitRows;
}

// Which units a block takes: two, or one, when fewer are left than there are
// places for blocks.
struct Division {
  int64_t units;
  int64_t pairs;  // blocks with two; those with one follow
  __device__ int64_t first(int64_t block) const { return block < pairs ? 2 * block : pairs + block; }
  __device__ int count(int64_t block) const { return block < pairs ? 2 : 1; }
  int64_t blocks() const { return units - pairs; }
};
Division divided(int64_t rows, int blocks_at_once);

// Two neighbouring numbers of a row, part by part.
template <int kParts>
struct Pair {
  uint32_t part[kParts];
};
template <int kParts>
__device__ Pair<kParts> split(float first, float second) {
  Pair<kParts> pair;
  pair.part[0] = packed(first, second);
  if constexpr (kParts == 2)
    pair.part[1] = packed(first - __uint_as_float(pair.part[0] << 16),
                          second - __uint_as_float(pair.part[0] & 0xffff0000u));
  return pair;
}

// The same as f16.
__device__ inline Pair<2> split_half(float first, float second) {
  const __half2 high = __floats2half2_rn(first, second);
  const float2 of_high = __half22float2(high);
  const __half2 low = __floats2half2_rn(first - of_high.x, second - of_high.y);
  return {*reinterpret_cast<const uint32_t*>(&high), *reinterpret_cast<const uint32_t*>(&low)};
}
inline constexpr float kWeightScale = 64;  // of weights as f16; what is beyond ±1023 is infinite

// Slabs on their way through shared memory, which begins with the tiles.
template <int kWidth, int kParts>
struct Ring {
  static constexpr int kCount = kStages<kWidth, kParts>;
  char* slabs;
  uint64_t *full, *empty;
  uint64_t* others;  // barriers that remain

  __device__ explicit Ring(char* shared) : slabs(shared + kTilesBytes<kWidth, kParts>) {
    full = reinterpret_cast<uint64_t*>(slabs + kCount * kSlabBytes<kWidth>);
    empty = full + kCount;
    others = empty + kCount;
  }
  __device__ void prepare(int warpgroups) const {
    for (int i = 0; i < kCount; ++i) {
      prepare_barrier(full + i, 1);
      prepare_barrier(empty + i, 4 * warpgroups);
    }
  }
  // By one thread.
  __device__ void fetch(const char* from, int count) const {
    for (int i = 0, stage = 0, parity = 1; i < count; ++i) {
      wait_for_phase(empty + stage, parity);
      arrive_expecting(full + stage, kSlabBytes<kWidth>);
      copy_in(slabs + stage * kSlabBytes<kWidth>, from + int64_t{i} * kSlabBytes<kWidth>, kSlabBytes<kWidth>,
              full + stage);
      if (++stage == kCount) {
        stage = 0;
        parity ^= 1;
      }
    }
  }
};

// The roles of a block's warpgroups: the last one fetches slabs, the others
// compute.
template <int kWidth, class Fetch, class Compute>
__device__ void play_roles(int warpgroups, const Fetch& fetch, const Compute& compute) {
  const int number = static_cast<int>(threadIdx.x) / 128;
  if (number == kWarpgroups) {
    give_registers<24>();
    if (threadIdx.x % 128 == 0) fetch();
  } else {
    take_registers<kBlocksAtOnce<kWidth> == 1 ? 240 : 104>();  // three times what all had, in all
    if (number < warpgroups) compute(number);
  }
}

// A warpgroup, its tile and its sums [64, kWidth].
//
// The second warpgroup of a block begins a little later than the first and
// stays behind: so one multiplies while the other is between two layers.
template <int kWidth, int kParts, bool kHalf>
class Warpgroup {
 protected:
  __device__ Warpgroup(const Ring<kWidth, kParts>& ring, char* tiles, const Division& division, int number)
      : ring_(ring),
        tile_(tiles + number * kUnitBytes<kWidth, kParts>),
        unit_(division.first(blockIdx.x) + number),
        number_(number),
        warp_(static_cast<int>(threadIdx.x) / 32 % 4),
        lane_(static_cast<int>(threadIdx.x) % 32),
        gate_(division.count(blockIdx.x) == 2) {}

  __device__ bool elected() const { return warp_ == 0 && lane_ == 0; }
  // Row of the unit that sums_[2·half + 4·…] are of.
  __device__ int row(int half) const { return 16 * warp_ + 8 * half + lane_ / 4; }

  // sums_ = the tile's first panels · the next slabs, or that is added to them.
  // Only kColumns of the result. done(panel): this warp's products with it are.
  template <int kColumns, class Done>
  __device__ void multiply(int panels, bool add, const Done& done) {
    if (gate_ && number_ == 1) wait_at_gate();
    uint64_t rows = operand_at(tile_);
#pragma unroll 1
    for (int panel = 0; panel < panels; ++panel, rows = moved(rows, kPanelBytes)) {
      multiply_slab<kColumns, 0>(rows, panel > 0, add);
      if (panel > 0) done(panel - 1);
      if constexpr (kParts == 2) multiply_slab<kColumns, 1>(rows, true, true);
      add = true;
      if (gate_ && number_ == 0 && (panel + 1 == kLead || panel + 1 == panels)) {
        open_gate();
        gate_ = false;
      }
    }
    wait_for_products<0>();
    release();
    done(panels - 1);
    gate_ = false;
  }

  // Where the tile holds columns 16j + 2t + {0, 1} (right: + 8) of row(half).
  __device__ uint32_t& in_tile(int part, int j, bool right, int half) const {
    return *reinterpret_cast<uint32_t*>(tile_ + (part * kPanels<kWidth> + j / 4) * kPanelBytes +
                                        in_panel(row(half), j % 4 * 16 + (right ? 8 : 0) + lane_ % 4 * 2));
  }
  __device__ void to_tile(int j, int half, const Pair<kParts>& left, const Pair<kParts>& right) const {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      in_tile(part, j, false, half) = left.part[part];
      in_tile(part, j, true, half) = right.part[part];
    }
  }
  // The same for a unit in memory, of what may have more parts.
  template <int kOf>
  __device__ void to_unit(char* unit, int j, int half, const Pair<kOf>& left, const Pair<kOf>& right) const {
#pragma unroll
    for (int part = 0; part < kParts; ++part)
      *reinterpret_cast<uint2*>(unit + (part * kPanels<kWidth> + j / 4) * kPanelBytes +
                                in_panel(row(half), j % 4 * 16 + column_in_memory(lane_))) =
          to_memory({left.part[part], right.part[part]}, lane_);
  }

  const Ring<kWidth, kParts>& ring_;
  char* tile_;
  int64_t unit_;
  int number_, warp_, lane_;
  float sums_[kWidth / 2];

 private:
  // Panels that the first warpgroup begins with; their slabs are in shared
  // memory at a time.
  static constexpr int kLead = kParts == 2 ? 1 : 2;

  // With the first part of the weights both of the rows', with the second the
  // first.
  template <int kColumns, int kPart>
  __device__ void multiply_slab(uint64_t rows, bool running, bool add) {
    wait_for_phase(ring_.full + stage_, parity_);
    begin_products();
    const uint64_t slab = operand_at(ring_.slabs + stage_ * kSlabBytes<kWidth>);
#pragma unroll
    for (int deep = 0; deep < 4; ++deep) {
      if constexpr (kPart + 1 < kParts)
        multiply_add<kColumns, false, kHalf>(sums_, moved(rows, kPanels<kWidth> * kPanelBytes + 32 * deep),
                                             moved(slab, 32 * deep), add || deep > 0);
      multiply_add<kColumns, false, kHalf>(sums_, moved(rows, 32 * deep), moved(slab, 32 * deep),
                                           add || deep > 0 || kPart + 1 < kParts);
    }
    commit_products();
    if (running) {
      wait_for_products<1>();
      release();
    }
    if (++stage_ == ring_.kCount) {
      stage_ = 0;
      parity_ ^= 1;
    }
  }
  // The oldest slab that is still held.
  __device__ void release() {
    if (lane_ == 0) arrive(ring_.empty + held_);
    if (++held_ == ring_.kCount) held_ = 0;
  }

  bool gate_;
  int stage_ = 0, parity_ = 0, held_ = 0;
};

// Weights in the forms that the kernels read.
struct Packed {
  // Of layers, one after the other, all parts of a panel before the next: the
  // weight matrix's rows, or (backward) its columns.
  const char* slabs;
  // Forward only: for columns 16j of a layer, lane t of four has those of 16j +
  // 2t + {0, 1, 8, 9}.
  const float4* biases;
  // What lanes hold of the heads' last layers as right operands of products of
  // a warp. Forward, for 16 columns and in two parts: [head][part][width /
  // 16][lane] two units; backward: [head][part][column][4] units.
  const uint32_t* last;
};
size_t packed_bytes(const Shape& shape, int parts);
Packed pack(const std::vector<const DenseLayer*>& layers, const Shape& shape, int parts, bool backward,
            void* memory, cudaStream_t stream);

// A kernel of one argument.
template <class Argument>
void launch_with(void (*kernel)(Argument), dim3 grid, int threads, int shared, const Argument& argument,
                 cudaStream_t stream, const char* doing) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
        "preparing the network");
  kernel<<<grid, static_cast<unsigned>(threads), static_cast<size_t>(shared), stream>>>(argument);
  check_launch(doing);
}

// Bytes of an array [rows, columns] in units.
int64_t array_bytes(int64_t rows, int columns, int parts);
// Array `number` of the activations; the features follow the last.
char* array_at(const Shape& shape, int parts, void* activations, int64_t number);

// Rows back through the layers, whose outputs come in the order in which they are met: the heads' hidden
// layers, then the trunk from its end. backward_rows chooses the division.
struct Backward {
  int64_t rows;
  Division division;
  Packed packed;
  int slab_count;
  int heads, sources;
  const char* output[kMostSources];
  char* derivative[kMostSources];  // before the ReLU
  struct Head {
    const float* d_output;
    float* parts;  // [units, out, width + 1] of the last layer's gradient; the last column is the bias'
    int out;
  } head[kMostHeads];
  float* d_features;  // or null
  int in;
};
void backward_rows(Backward& backward, int width, int parts, cudaStream_t stream);

// Weight gradients: d_weight[out, in] = Σ_row derivative[row, out]·input[row, in], and the biases'.
struct Weights {
  int64_t units;
  int splits;  // of the units, each with sums of its own
  int layers;
  struct Layer {
    const char *derivative, *input;
    int input_panels;
    float *parts, *bias_parts;  // [splits, width, width], [splits, width]
  } layer[kMostSources];
};
int splits_for(const Shape& shape);
void weight_gradients(const Weights& weights, int width, int parts, cudaStream_t stream);

}  // namespace eg4d::cuda::hopper
