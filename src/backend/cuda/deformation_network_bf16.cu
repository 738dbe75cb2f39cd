// The deformation network in bf16, forward: one kernel, in which a block keeps its rows in shared memory from
// the features to the outputs. Only what the backward pass needs is written.

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/deformation_network_bf16.cuh"
#include "backend/cuda/gaussian_rows.cuh"

namespace eg4d::cuda {
namespace bf16 {
namespace {

constexpr int kStages = 3;

struct Forward {
  const float* features;
  int in, feature_slabs;
  int64_t rows;
  const uint4* slabs;
  Number* features_copy;  // [rows, 64·feature_slabs], or null: nothing is kept
  int trunk;
  struct Layer {
    const float* bias;
    Number* output;
  } layer[kMostTrunk];
  int heads;
  struct Head {
    const float *bias, *last_weight, *last_bias;
    Number* hidden;
    float* output;
    int out;
  } head[kMostHeads];
};

template <int kWidth>
constexpr size_t kTileUnits = size_t{kRows} * kWidth / 8;
template <int kWidth>
constexpr size_t kSharedBytes = (kTileUnits<kWidth> + size_t{kStages} * kWidth * kSlabUnits) * sizeof(uint4) +
                                size_t{4} * kRows* kMostOutputs * sizeof(float);

template <int kWidth>
class Block {
 public:
  __device__ Block(const Forward& f, uint4* shared)
      : f_(f),
        tile_(shared),
        slabs_(shared + kTileUnits<kWidth>),
        partial_(reinterpret_cast<float*>(slabs_ + kStages * kWidth * kSlabUnits)),
        first_(int64_t{blockIdx.x} * kRows),
        place_(warp_place<kWidth>()),
        lane_(own_lane()),
        slab_count_(f.feature_slabs + (f.trunk - 1 + f.heads) * (kWidth / kSlab)) {}

  __device__ void run() {
    for (int step = 0; step < kStages - 1; ++step) load(step);
    load_features();
    for (int i = 0; i < f_.trunk; ++i) {
      multiply(i == 0 ? f_.feature_slabs : kWidth / kSlab);
      __syncthreads();  // the tile is read no more
      finish<true>(f_.layer[i].bias, f_.layer[i].output);
    }
    for (int i = 0; i < f_.heads; ++i) {
      multiply(kWidth / kSlab);
      finish<false>(f_.head[i].bias, f_.head[i].hidden);
      last_layer(f_.head[i]);
    }
  }

 private:
  __device__ void load(int step) {
    constexpr int kUnits = kWidth * kSlabUnits;
    if (step < slab_count_)
      load_slab<kWidth>(slabs_ + step % kStages * kUnits, f_.slabs + int64_t{step} * kUnits);
    commit_copies();
  }

  __device__ void load_features() {
    const int pairs = f_.feature_slabs * kSlab / 2;
    for (int i = static_cast<int>(threadIdx.x); i < kRows * pairs; i += kThreads) {
      const int row = i / pairs, column = i % pairs * 2;
      const bool there = first_ + row < f_.rows;
      const float* from = f_.features + (first_ + row) * f_.in + column;
      const uint32_t both =
          packed(there && column < f_.in ? from[0] : 0.0f, there && column + 1 < f_.in ? from[1] : 0.0f);
      pair_in_tile<kWidth>(tile_, row, column) = both;
      if (f_.features_copy && there)
        reinterpret_cast<uint32_t*>(f_.features_copy)[(first_ + row) * pairs + column / 2] = both;
    }
  }

  // results_ = tile · the next slabs.
  __device__ void multiply(int slabs) {
    clear<kWidth>(results_);
    for (int i = 0; i < slabs; ++i, ++step_) {
      wait_for_copies<kStages - 2>();
      __syncthreads();
      load(step_ + kStages - 1);
      multiply_slab<kWidth>(tile_, i * kSlabUnits, slabs_ + step_ % kStages * kWidth * kSlabUnits, place_,
                            lane_, results_);
    }
  }

  // Bias and ReLU; the results go to the tile (if kToTile) and to memory.
  template <bool kToTile>
  __device__ void finish(const float* bias, Number* output) {
#pragma unroll
    for (int j = 0; j < kWidth / 64; ++j) {
      const int column = place_.column + 16 * j + lane_ % 4 * 2;
      const float biases[4] = {bias[column], bias[column + 1], bias[column + 8], bias[column + 9]};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            float& value = results_[i][2 * j + k / 2][2 * half + k % 2];
            value += biases[k];
            value = value < 0 ? 0 : value;  // NaN stays
          }
          const int row = place_.row + 16 * i + 8 * half + lane_ / 4;
          const float* left = &results_[i][2 * j][2 * half];
          const float* right = &results_[i][2 * j + 1][2 * half];
          const PackedPair pair{packed(left[0], left[1]), packed(right[0], right[1])};
          if (kToTile) {
            pair_in_tile<kWidth>(tile_, row, column) = pair.left;
            pair_in_tile<kWidth>(tile_, row, column + 8) = pair.right;
          }
          if (!output) continue;
          const uint2 together = to_memory(pair, lane_);
          if (first_ + row < f_.rows)
            *reinterpret_cast<uint2*>(output + (first_ + row) * kWidth + place_.column + 16 * j +
                                      column_in_memory(lane_)) = together;
        }
      }
    }
  }

  // A few columns: each warp's quarter of the sums, then all four.
  __device__ void last_layer(const Forward::Head& head) {
    const int t = lane_ % 4;
    for (int o = 0; o < head.out; ++o) {
      float sums[8] = {};
#pragma unroll
      for (int j = 0; j < kWidth / 32; ++j) {
        const float* weight = head.last_weight + int64_t{o} * kWidth + place_.column + 8 * j + 2 * t;
        const float first = weight[0], second = weight[1];
#pragma unroll
        for (int i = 0; i < 8; ++i)
          sums[i] = fmaf(results_[i / 2][j][i % 2 * 2], first,
                         fmaf(results_[i / 2][j][i % 2 * 2 + 1], second, sums[i]));
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        sums[i] += __shfl_xor_sync(0xffffffffu, sums[i], 1);
        sums[i] += __shfl_xor_sync(0xffffffffu, sums[i], 2);
        const int row = place_.row + 8 * i + lane_ / 4;
        if (t == 0) partial(place_.column / (kWidth / 4), row, o) = sums[i];
      }
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kRows * head.out; i += kThreads) {
      const int row = i / head.out, o = i % head.out;
      if (first_ + row >= f_.rows) continue;
      const float sum = (partial(0, row, o) + partial(1, row, o)) + (partial(2, row, o) + partial(3, row, o));
      head.output[first_ * head.out + i] = sum + head.last_bias[o];
    }
  }
  __device__ float& partial(int quarter, int row, int o) {
    return partial_[(quarter * kRows + row) * kMostOutputs + o];
  }

  const Forward& f_;
  uint4 *tile_, *slabs_;
  float* partial_;
  int64_t first_;
  WarpPlace place_;
  int lane_, slab_count_, step_ = 0;
  Results<kWidth> results_;
};

template <int kWidth>
__global__ void __launch_bounds__(kThreads, 1) forward_kernel(const __grid_constant__ Forward f) {
  extern __shared__ uint4 shared[];
  Block<kWidth>(f, shared).run();
}

template <int kWidth>
void launch(const Forward& f, cudaStream_t stream) {
  const auto kernel = forward_kernel<kWidth>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes<kWidth>),
        "preparing the network");
  kernel<<<blocks_for(f.rows, kRows), kThreads, kSharedBytes<kWidth>, stream>>>(f);
  check_launch("computing the network");
}

struct Slabs {
  struct Layer {
    const float* weight;
    int in, out, first_slab;
  } layer[kMostHeads + kMostTrunk];
  int layers = 0;
};

// A block: one slab.
__global__ void __launch_bounds__(kThreads)
    pack_kernel(const __grid_constant__ Slabs s, int width, bool transposed, uint32_t* to) {
  const int slab = static_cast<int>(blockIdx.x);
  int i = 0;
  while (i + 1 < s.layers && s.layer[i + 1].first_slab <= slab) ++i;
  const Slabs::Layer& layer = s.layer[i];
  const int first = (slab - layer.first_slab) * kSlab;
  const auto at = [&](int row, int column) {
    const int out = transposed ? column : row, in = transposed ? row : column;
    return out < layer.out && in < layer.in ? layer.weight[int64_t{out} * layer.in + in] : 0.0f;
  };
  for (int pair = static_cast<int>(threadIdx.x); pair < width * kSlab / 2; pair += kThreads) {
    // Neighbouring threads read neighbouring weights.
    const int row = transposed ? pair % width : pair / (kSlab / 2),
              column = (transposed ? pair / width : pair % (kSlab / 2)) * 2;
    to[(int64_t{slab} * width + row) * (kSlab / 2) + column / 2] =
        packed(at(row, first + column), at(row, first + column + 1));
  }
}

}  // namespace

Shape::Shape(const Mlp& network, bool backward)
    : width(network.trunk.back().out),
      in(network.trunk.front().in),
      padded_in((in + kSlab - 1) / kSlab * kSlab),
      rows(network.count),
      trunk(static_cast<int>(network.trunk.size())),
      arrays(trunk) {
  for (const Mlp::Head& head : network.heads) {
    if (!head.output) continue;
    if (!backward || head.d_output) heads.push_back({&head, arrays});
    ++arrays;
  }
}

void pack_slabs(const std::vector<const DenseLayer*>& layers, int width, bool transposed, void* to,
                cudaStream_t stream) {
  Slabs s;
  int slabs = 0;
  for (const DenseLayer* layer : layers) {
    s.layer[s.layers++] = {layer->weight, layer->in, layer->out, slabs};
    slabs += ((transposed ? layer->out : layer->in) + kSlab - 1) / kSlab;
  }
  if (slabs == 0) return;
  pack_kernel<<<static_cast<unsigned>(slabs), kThreads, 0, stream>>>(s, width, transposed,
                                                                     static_cast<uint32_t*>(to));
  check_launch("rounding weights");
}

}  // namespace bf16

bool bf16_fits(const Mlp& network) {
  using namespace bf16;
  if (network.trunk.empty() || network.trunk.size() > size_t{kMostTrunk} ||
      network.heads.size() > size_t{kMostHeads})
    return false;
  const int width = network.trunk.back().out;
  if ((width != 64 && width != 128 && width != 256) || network.trunk.front().in > width) return false;
  for (const DenseLayer& layer : network.trunk)
    if (layer.out != width) return false;
  for (const Mlp::Head& head : network.heads)
    if (head.hidden.out != width || head.last.out > kMostOutputs) return false;
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess) {
    cudaGetLastError();  // is told by whatever comes next
    return false;
  }
  return bytes >= 227 * 1024;
}

size_t bf16_activation_bytes(const Mlp& network) {
  const bf16::Shape shape(network, false);
  return static_cast<size_t>(shape.rows * (shape.arrays * shape.width + shape.padded_in)) *
         sizeof(bf16::Number);
}

void bf16_forward(const Mlp& network, void* workspace, cudaStream_t stream) {
  using namespace bf16;
  const Shape shape(network, false);
  if (shape.rows == 0) return;
  std::vector<const DenseLayer*> layers;
  Forward f{};
  f.features = network.features;
  f.in = shape.in;
  f.feature_slabs = shape.slabs_of_features();
  f.rows = shape.rows;
  f.slabs = static_cast<const uint4*>(workspace);
  const auto kept = [&](int64_t array) {
    return network.activations ? shape.array(network.activations, array) : nullptr;
  };
  f.features_copy = kept(shape.arrays);
  for (const DenseLayer& layer : network.trunk) {
    layers.push_back(&layer);
    f.layer[f.trunk] = {layer.bias, kept(f.trunk)};
    ++f.trunk;
  }
  for (const Shape::Head& head : shape.heads) {
    const DenseLayer &hidden = head.head->hidden, &last = head.head->last;
    layers.push_back(&hidden);
    f.head[f.heads++] = {hidden.bias, last.weight, last.bias, kept(head.hidden), head.head->output, last.out};
  }
  pack_slabs(layers, shape.width, false, workspace, stream);
  if (shape.width == 256) return launch<256>(f, stream);
  if (shape.width == 128) return launch<128>(f, stream);
  launch<64>(f, stream);
}

}  // namespace eg4d::cuda
