// The deformation network in bf16, backward: a block takes its rows back through all layers and writes the
// derivatives before every ReLU, which deformation_network_bf16_weights.cu multiplies with the layers'
// inputs. Partial sums are added in a fixed order.

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/deformation_network_bf16.cuh"
#include "backend/cuda/gaussian_rows.cuh"

namespace eg4d::cuda {
namespace bf16 {
namespace {

constexpr int kStages = 2;

// The layers' outputs in the order in which they are met: the heads' hidden layers, then the trunk from its
// end.
struct Backward {
  int64_t rows;
  const uint4* slabs;
  int heads, sources;
  const Number* output[kMostSources];
  Number* derivative[kMostSources];  // before the ReLU
  struct Head {
    const float *d_output, *last_weight;
    float* parts;  // [blocks, out, width + 1] of the last layer's gradient; the last column is the bias'
    int out;
  } head[kMostHeads];
  float* d_features;  // or null
  int in;
};

template <int kWidth>
constexpr size_t kTileUnits = size_t{kRows} * kWidth / 8;
template <int kWidth>
constexpr size_t kSharedBytes = (2 * kTileUnits<kWidth> + size_t{kStages} * kWidth * kSlabUnits) *
                                    sizeof(uint4) +
                                size_t{2} * kRows* kMostOutputs * sizeof(float);

template <int kWidth>
class Block {
 public:
  __device__ Block(const Backward& b, uint4* shared)
      : b_(b),
        tiles_(shared),
        slabs_(shared + 2 * kTileUnits<kWidth>),
        d_outputs_(reinterpret_cast<float*>(slabs_ + kStages * kWidth * kSlabUnits)),
        first_(int64_t{blockIdx.x} * kRows),
        place_(warp_place<kWidth>()),
        lane_(own_lane()),
        slab_count_((b.sources - (b.d_features ? 0 : 1)) * kSlabs) {}

  __device__ void run() {
    for (int piece = 0; piece < kSlabs; ++piece) load_source(0, piece);
    load_slab(0);
    commit_copies();
    clear<kWidth>(results_);
    for (int source = 0; source < b_.sources; ++source) {
      wait_for_copies<0>();
      __syncthreads();
      if (source < b_.heads) {
        last_layer_gradient(source);
        __syncthreads();  // now the tile may change
        through_last_layer(source);
      } else {
        through_relu(source);
        clear<kWidth>(results_);
        if (source + 1 == b_.sources && !b_.d_features) return;
      }
      multiply(source);
    }
    add_to_features();
  }

 private:
  static constexpr int kSlabs = kWidth / kSlab;  // of a layer
  __device__ uint4* tile(int source) const { return tiles_ + source % 2 * kTileUnits<kWidth>; }
  __device__ float* d_output(int source) const { return d_outputs_ + source % 2 * kRows * kMostOutputs; }

  __device__ void load_slab(int step) {
    constexpr int kUnits = kWidth * kSlabUnits;
    if (step < slab_count_)
      bf16::load_slab<kWidth>(slabs_ + step % kStages * kUnits, b_.slabs + int64_t{step} * kUnits);
  }
  // A part of the rows of a source, and with the first of a head its output's derivatives.
  __device__ void load_source(int source, int piece) {
    if (source >= b_.sources) return;
    constexpr int kUnits = kWidth / 8, kPieceRows = kRows / kSlabs;
#pragma unroll
    for (int i = 0; i < kPieceRows * kUnits / kThreads; ++i) {
      const int unit = static_cast<int>(threadIdx.x) + i * kThreads;
      const int row = piece * kPieceRows + unit / kUnits;
      const bool there = first_ + row < b_.rows;
      const Number* from = b_.output[source];
      if (there) from += (first_ + row) * kWidth + unit % kUnits * 8;
      copy_unit_async(tile(source) + swizzled(row, unit % kUnits, kUnits), from, there);
    }
    if (piece > 0 || source >= b_.heads) return;
    const Backward::Head& head = b_.head[source];
    for (int i = static_cast<int>(threadIdx.x); i < kRows * head.out; i += kThreads) {
      const bool there = first_ + i / head.out < b_.rows;
      copy_float_async(d_output(source) + i, head.d_output + (there ? first_ * head.out + i : 0), there);
    }
  }

  // Two neighbours in the derivatives of an output: along o or along the rows. Zero beyond `out`.
  __device__ uint32_t outputs_of_row(const float* d, int out, int row, int o) const {
    return packed(o < out ? d[row * out + o] : 0.0f, o + 1 < out ? d[row * out + o + 1] : 0.0f);
  }
  __device__ uint32_t rows_of_output(const float* d, int out, int row, int o) const {
    return o < out ? packed(d[row * out + o], d[(row + 1) * out + o]) : 0u;
  }

  // d_weight[o, column] = Σ_row d_output[row, o]·hidden[row, column] of these rows. A warp takes an eighth of
  // the columns, the first one also the bias.
  __device__ void last_layer_gradient(int source) {
    const Backward::Head& head = b_.head[source];
    const float* d = d_output(source);
    const uint4* hidden = tile(source);
    constexpr int kColumns = kWidth / 8;
    const int warp = static_cast<int>(threadIdx.x) / 32, g = lane_ / 4, t = lane_ % 4;
    const int first_column = warp * kColumns;
    float sums[kColumns / 8][4] = {}, bias[4] = {};
#pragma unroll 1  // the registers hold results_
    for (int row = 0; row < kRows; row += 16) {
      const uint32_t a[4] = {rows_of_output(d, head.out, row + 2 * t, g), 0,
                             rows_of_output(d, head.out, row + 8 + 2 * t, g), 0};
      if (warp == 0) multiply_add(bias, a, kPackedOnes, kPackedOnes);
      const int at = row + ((lane_ >> 3) & 1) * 8 + (lane_ & 7);
      if constexpr (kColumns == 8) {
        uint32_t b[4];  // the upper lanes' matrices are read twice
        load_matrices_transposed(b, hidden + swizzled(at, first_column / 8, kWidth / 8));
        multiply_add(sums[0], a, b[0], b[1]);
      } else {
#pragma unroll
        for (int j = 0; j < kColumns / 16; ++j) {
          uint32_t b[4];
          load_matrices_transposed(
              b, hidden + swizzled(at, first_column / 8 + 2 * j + (lane_ >> 4), kWidth / 8));
          multiply_add(sums[2 * j], a, b[0], b[1]);
          multiply_add(sums[2 * j + 1], a, b[2], b[3]);
        }
      }
    }
    if (g >= head.out) return;
    float* parts = head.parts + (int64_t{blockIdx.x} * head.out + g) * (kWidth + 1);
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
      parts[first_column + 8 * j + 2 * t] = sums[j][0];
      parts[first_column + 8 * j + 2 * t + 1] = sums[j][1];
    }
    if (warp == 0 && t == 0) parts[kWidth] = bias[0];
  }

  // The source's tile becomes the derivative before its ReLU: d_output · last_weight where it is above 0.
  __device__ void through_last_layer(int source) {
    const Backward::Head& head = b_.head[source];
    const float* d = d_output(source);
    const int g = lane_ / 4, t = lane_ % 4;
    uint32_t a[4][2];
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        a[i][half] = outputs_of_row(d, head.out, place_.row + 16 * i + 8 * half + g, 2 * t);
#pragma unroll 1
    for (int j = 0; j < kWidth / 64; ++j) {
      uint32_t b[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float* weight = head.last_weight + place_.column + 16 * j + 8 * half + g;
        b[half] = packed(2 * t < head.out ? weight[int64_t{2} * t * kWidth] : 0.0f,
                         2 * t + 1 < head.out ? weight[int64_t{2 * t + 1} * kWidth] : 0.0f);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float left[4] = {}, right[4] = {};
        multiply_add(left, a[i][0], a[i][1], b[0]);
        multiply_add(right, a[i][0], a[i][1], b[1]);
        write_masked(source, i, j, left, right);
      }
    }
  }

  // The same with what has been added up in results_.
  __device__ void through_relu(int source) {
#pragma unroll
    for (int j = 0; j < kWidth / 64; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) write_masked(source, i, j, results_[i][2 * j], results_[i][2 * j + 1]);
  }

  static __device__ uint32_t masked(uint32_t output, float first, float second) {
    const auto above = [](uint32_t bits) { return bits - 1 < 0x7f80u; };  // 0 < bf16 <= infinity
    return packed(above(output & 0xffff) ? first : 0.0f, above(output >> 16) ? second : 0.0f);
  }
  __device__ void write_masked(int source, int i, int j, const float (&left)[4], const float (&right)[4]) {
    const int column = place_.column + 16 * j + lane_ % 4 * 2;
    Number* const derivative = b_.derivative[source];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = place_.row + 16 * i + 8 * half + lane_ / 4;
      uint32_t &at_left = pair_in_tile<kWidth>(tile(source), row, column),
               &at_right = pair_in_tile<kWidth>(tile(source), row, column + 8);
      const PackedPair pair{masked(at_left, left[2 * half], left[2 * half + 1]),
                            masked(at_right, right[2 * half], right[2 * half + 1])};
      at_left = pair.left;
      at_right = pair.right;
      const uint2 together = to_memory(pair, lane_);
      if (first_ + row < b_.rows)
        *reinterpret_cast<uint2*>(derivative + (first_ + row) * kWidth + place_.column + 16 * j +
                                  column_in_memory(lane_)) = together;
    }
  }

  // results_ += the source's tile · its layer's matrix, while the next source and slab are on their way.
  __device__ void multiply(int source) {
    for (int i = 0; i < kSlabs; ++i, ++step_) {
      wait_for_copies<0>();
      __syncthreads();
      load_slab(step_ + 1);
      load_source(source + 1, i);
      commit_copies();
      multiply_slab<kWidth>(tile(source), i * kSlabUnits, slabs_ + step_ % kStages * kWidth * kSlabUnits,
                            place_, lane_, results_);
    }
  }

  __device__ void add_to_features() {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t row = first_ + place_.row + 16 * i + 8 * half + lane_ / 4;
        if (row >= b_.rows) continue;
#pragma unroll
        for (int j = 0; j < kWidth / 32; ++j) {
          const int column = place_.column + 8 * j + lane_ % 4 * 2;
          float* to = b_.d_features + row * b_.in + column;
          if (column < b_.in) to[0] += results_[i][j][2 * half];
          if (column + 1 < b_.in) to[1] += results_[i][j][2 * half + 1];
        }
      }
    }
  }

  const Backward& b_;
  uint4 *tiles_, *slabs_;
  float* d_outputs_;
  int64_t first_;
  WarpPlace place_;
  int lane_, slab_count_, step_ = 0;
  Results<kWidth> results_;
};

template <int kWidth>
__global__ void __launch_bounds__(kThreads, 1) backward_kernel(const __grid_constant__ Backward b) {
  extern __shared__ uint4 shared[];
  Block<kWidth>(b, shared).run();
}

// Pieces of the workspace.
struct Scratch {
  void* slabs;
  Number* derivatives;  // [heads + trunk, rows, width]
  float* last_parts;    // [heads, blocks, 8, width + 1]
  float* parts;         // [heads + trunk, splits, width, width + 1]
  size_t bytes;
};
Scratch lay_out(const Shape& shape, void* memory) {
  const int64_t sources = static_cast<int64_t>(shape.heads.size()) + shape.trunk, width = shape.width;
  Scratch s{};
  const auto take = [&](auto*& piece, int64_t bytes) {
    piece =
        memory
            ? reinterpret_cast<std::remove_reference_t<decltype(piece)>>(static_cast<char*>(memory) + s.bytes)
            : nullptr;
    s.bytes += static_cast<size_t>(bytes + 255) / 256 * 256;
  };
  take(s.slabs, sources * width * width * int64_t{sizeof(Number)});
  take(s.derivatives, sources * shape.rows * width * int64_t{sizeof(Number)});
  take(s.last_parts, static_cast<int64_t>(shape.heads.size()) * shape.row_blocks() * kMostOutputs *
                         (width + 1) * int64_t{sizeof(float)});
  take(s.parts, sources * weight_splits(shape) * width * (width + 1) * int64_t{sizeof(float)});
  return s;
}

template <int kWidth>
void launch(const Backward& b, cudaStream_t stream) {
  const auto kernel = backward_kernel<kWidth>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes<kWidth>),
        "preparing the network");
  kernel<<<blocks_for(b.rows, kRows), kThreads, kSharedBytes<kWidth>, stream>>>(b);
  check_launch("going back through the network");
}

}  // namespace
}  // namespace bf16

size_t bf16_workspace_bytes(const Mlp& network, bool backward) {
  using namespace bf16;
  const Shape shape(network, backward);
  if (backward) return lay_out(shape, nullptr).bytes;
  const size_t layers = shape.heads.size() + static_cast<size_t>(shape.trunk);
  return layers * static_cast<size_t>(shape.width) * static_cast<size_t>(shape.width) * sizeof(Number);
}

void bf16_backward(const Mlp& network, void* workspace, cudaStream_t stream) {
  using namespace bf16;
  const Shape shape(network, true);
  if (shape.rows == 0) return;
  const Scratch scratch = lay_out(shape, workspace);
  const int64_t width = shape.width, pitch = width + 1;
  Backward b{};
  b.rows = shape.rows;
  b.slabs = static_cast<const uint4*>(scratch.slabs);
  b.d_features = network.d_features;
  b.in = shape.in;
  Weights w{};
  w.rows = shape.rows;
  w.splits = weight_splits(shape);
  Sums sums, last_sums;
  std::vector<const DenseLayer*> layers;
  bool frozen = true;
  // One layer: its output (an array of the activations) and its input (another, or the features).
  const auto add_source = [&](const DenseLayer& layer, int64_t output, int64_t input) {
    const int64_t source = b.sources++;
    layers.push_back(&layer);
    b.output[source] = shape.array(network.activations, output);
    b.derivative[source] = scratch.derivatives + source * shape.rows * width;
    float* const parts = scratch.parts + source * w.splits * width * pitch;
    const bool features = input < 0;
    w.layer[w.layers++] = {.derivative = b.derivative[source],
                           .input = shape.array(network.activations, features ? shape.arrays : input),
                           .in = layer.in,
                           .stride = features ? shape.padded_in : shape.width,
                           .parts = parts,
                           .bias_parts = parts + w.splits * width * width};
    const int64_t weights = width * layer.in;
    sums.add({layer.d_weight, parts, weights, weights, 0, weights, w.splits});
    sums.add({layer.d_bias, w.layer[source].bias_parts, width, width, 0, width, w.splits});
    frozen &= !layer.d_weight && !layer.d_bias;
  };
  for (const Shape::Head& head : shape.heads) {
    const DenseLayer& last = head.head->last;
    float* const parts = scratch.last_parts + b.heads * shape.row_blocks() * kMostOutputs * pitch;
    b.head[b.heads++] = {head.head->d_output, last.weight, parts, last.out};
    last_sums.add(
        {last.d_weight, parts, last.out * width, width, pitch, last.out * pitch, shape.row_blocks()});
    last_sums.add({last.d_bias, parts + width, last.out, 1, pitch, last.out * pitch, shape.row_blocks()});
    add_source(head.head->hidden, head.hidden, shape.trunk - 1);
  }
  for (int i = shape.trunk - 1; i >= 0; --i) add_source(network.trunk[static_cast<size_t>(i)], i, i - 1);
  pack_slabs(layers, shape.width, true, scratch.slabs, stream);
  if (width == 256)
    launch<256>(b, stream);
  else if (width == 128)
    launch<128>(b, stream);
  else
    launch<64>(b, stream);
  if (!frozen) weight_gradients(w, shape.width, stream);
  add_parts(sums, stream);
  add_parts(last_sums, stream);
}

}  // namespace eg4d::cuda
