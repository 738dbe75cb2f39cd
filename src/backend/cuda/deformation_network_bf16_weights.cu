// The deformation network in bf16: its weights' gradients, summed over all rows in parts, which are then
// added in a fixed order.

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/deformation_network_bf16.cuh"

namespace eg4d::cuda::bf16 {
namespace {

constexpr int kWeightStages = 3;
constexpr int kBlocks = 132;  // to fill a large GPU; fixed, because it decides in which order is added
template <int kWidth>
constexpr int kOuts = kWidth < 128 ? kWidth : 128;  // of a block
template <int kWidth>
constexpr int kStageUnits = kSlab*(kOuts<kWidth> + kWidth) / 8;

// A block: a part of the rows (blockIdx.y) for some outputs of one layer (blockIdx.x).
template <int kWidth>
class WeightBlock {
 public:
  __device__ WeightBlock(const Weights& w, uint4* shared)
      : w_(w),
        layer_(w.layer[blockIdx.x / kBlocksOfLayer]),
        shared_(shared),
        first_out_(static_cast<int>(blockIdx.x) % kBlocksOfLayer * kOut),
        lane_(own_lane()) {
    const int64_t steps = (w.rows + kSlab - 1) / kSlab;
    first_step_ = steps * blockIdx.y / w.splits;
    steps_ = static_cast<int>(steps * (blockIdx.y + 1) / w.splits - first_step_);
    const int warp = static_cast<int>(threadIdx.x) / 32;
    quarter_ = warp % 4;
    warp_out_ = warp / 4 * (kOut / 2);
    warp_in_ = quarter_ * (kWidth / 4);
  }

  __device__ void run() {
    for (int step = 0; step < kWeightStages - 1; ++step) load(step);
    for (int step = 0; step < steps_; ++step) {
      wait_for_copies<kWeightStages - 2>();
      __syncthreads();
      load(step + kWeightStages - 1);
      multiply(shared_ + step % kWeightStages * kStageUnits<kWidth>);
    }
    write();
  }

 private:
  static constexpr int kOut = kOuts<kWidth>, kBlocksOfLayer = kWidth / kOut;
  static constexpr int kFragments = kOut / 32;  // of 16 outputs of a warp

  template <int kColumns>
  __device__ void load_tile(uint4* to, const Number* from, int64_t first_row, int stride, int columns) {
    constexpr int kUnits = kColumns / 8;
#pragma unroll
    for (int i = 0; i < kSlab * kUnits / kThreads; ++i) {
      const int unit = static_cast<int>(threadIdx.x) + i * kThreads, row = unit / kUnits;
      const bool there = first_row + row < w_.rows && unit % kUnits * 8 < columns;
      copy_unit_async(to + swizzled(row, unit % kUnits, kUnits),
                      there ? from + (first_row + row) * stride + unit % kUnits * 8 : from, there);
    }
  }
  __device__ void load(int step) {
    if (step < steps_) {
      uint4* const to = shared_ + step % kWeightStages * kStageUnits<kWidth>;
      const int64_t row = (first_step_ + step) * kSlab;
      load_tile<kOut>(to, layer_.derivative + first_out_, row, kWidth, kOut);
      load_tile<kWidth>(to + kSlab * kOut / 8, layer_.input, row, layer_.stride, layer_.stride);
    }
    commit_copies();
  }

  __device__ void multiply(const uint4* derivatives) {
    const uint4* inputs = derivatives + kSlab * kOut / 8;
#pragma unroll
    for (int deep = 0; deep < kSlab; deep += 16) {
      uint32_t a[kFragments][4];
      const auto load = [&](int i, uint32_t(&to)[4]) {
        load_matrices_transposed(
            to, derivatives + swizzled(deep + (lane_ >> 4) * 8 + (lane_ & 7),
                                       (warp_out_ + 16 * i) / 8 + ((lane_ >> 3) & 1), kOut / 8));
      };
      if (quarter_ < kFragments) {  // loaded again: a[quarter_] would not stay in registers
        load(quarter_, a[0]);
        multiply_add(bias_, a[0], kPackedOnes, kPackedOnes);
      }
#pragma unroll
      for (int i = 0; i < kFragments; ++i) load(i, a[i]);
#pragma unroll
      for (int j = 0; j < kWidth / 64; ++j) {
        uint32_t b[4];
        load_matrices_transposed(b, inputs + swizzled(deep + ((lane_ >> 3) & 1) * 8 + (lane_ & 7),
                                                      (warp_in_ + 16 * j) / 8 + (lane_ >> 4), kWidth / 8));
#pragma unroll
        for (int i = 0; i < kFragments; ++i) {
          multiply_add(results_[i][2 * j], a[i], b[0], b[1]);
          multiply_add(results_[i][2 * j + 1], a[i], b[2], b[3]);
        }
      }
    }
  }

  __device__ void write() {
    const int g = lane_ / 4, t = lane_ % 4;
    float* const parts = layer_.parts + int64_t{blockIdx.y} * kWidth * layer_.in;
    if (quarter_ < kFragments && t == 0) {
      float* bias =
          layer_.bias_parts + int64_t{blockIdx.y} * kWidth + first_out_ + warp_out_ + 16 * quarter_ + g;
      bias[0] = bias_[0];
      bias[8] = bias_[2];
    }
#pragma unroll
    for (int i = 0; i < kFragments; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int out = first_out_ + warp_out_ + 16 * i + 8 * half + g;
#pragma unroll
        for (int j = 0; j < kWidth / 32; ++j) {
          const int in = warp_in_ + 8 * j + 2 * t;
          float* to = parts + int64_t{out} * layer_.in + in;
          if (in < layer_.in) to[0] = results_[i][j][2 * half];
          if (in + 1 < layer_.in) to[1] = results_[i][j][2 * half + 1];
        }
      }
    }
  }

  const Weights& w_;
  const Weights::Layer& layer_;
  uint4* shared_;
  int first_out_, lane_, quarter_, warp_out_, warp_in_, steps_;
  int64_t first_step_;
  float results_[kFragments][kWidth / 32][4] = {};
  float bias_[4] = {};
};

template <int kWidth>
__global__ void __launch_bounds__(kThreads, 1) weights_kernel(const __grid_constant__ Weights w) {
  extern __shared__ uint4 shared[];
  WeightBlock<kWidth>(w, shared).run();
}

template <int kWidth>
void launch(const Weights& w, cudaStream_t stream) {
  const auto kernel = weights_kernel<kWidth>;
  constexpr size_t kBytes = size_t{kWeightStages} * kStageUnits<kWidth> * sizeof(uint4);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "preparing the network");
  const dim3 grid{static_cast<unsigned>(w.layers * (kWidth / kOuts<kWidth>)),
                  static_cast<unsigned>(w.splits)};
  kernel<<<grid, kThreads, kBytes, stream>>>(w);
  check_launch("computing weight gradients");
}

}  // namespace

int weight_splits(const Shape& shape) {
  const int layers = static_cast<int>(shape.heads.size()) + shape.trunk;
  const int blocks = layers * (shape.width / std::min(shape.width, 128));
  return static_cast<int>(
      std::clamp<int64_t>(kBlocks / blocks, 1, std::max<int64_t>(shape.rows / (4 * kSlab), 1)));
}

void weight_gradients(const Weights& w, int width, cudaStream_t stream) {
  if (width == 256)
    launch<256>(w, stream);
  else if (width == 128)
    launch<128>(w, stream);
  else
    launch<64>(w, stream);
}

}  // namespace eg4d::cuda::bf16
