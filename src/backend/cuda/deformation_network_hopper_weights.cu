// Gradients of the deformation network's weights on Hopper's tensor cores: products down the columns of what
// the other kernels left, summed over a part of the rows.

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/deformation_network_hopper.cuh"

namespace eg4d::cuda {
namespace hopper {
namespace {

constexpr int kBlocks = 132;  // to fill a large GPU; fixed, because it decides in which order is added
constexpr int kStages = 4;

template <int kWidth>
constexpr int kOuts = std::min(kWidth, 128);  // of a block: 64 for each warpgroup
template <int kParts>
constexpr int kRows = kUnitRows / kParts;  // of a stage
template <int kParts>
constexpr int kPieceBytes = kRows<kParts>* kPanelRowBytes;
template <int kWidth, int kParts>
constexpr int kStageBytes = kParts*(kOuts<kWidth> + kWidth) / kPanelColumns* kPieceBytes<kParts>;
template <int kWidth>
constexpr int kBiasFloats = 4 * kOuts<kWidth>;
template <int kWidth, int kParts>
constexpr int kSharedBytes =
    kStages* kStageBytes<kWidth, kParts> + kBiasFloats<kWidth>* int{sizeof(float)} + kBarrierBytes;
template <int kWidth>
constexpr int kFetcher = kOuts<kWidth> / 16;  // the warp behind the warpgroups

// A block: a part of the units (blockIdx.y) for some outputs of one layer
// (blockIdx.x).
template <int kWidth, int kParts>
class WeightBlock {
 public:
  __device__ WeightBlock(const Weights& w, char* shared)
      : w_(w),
        layer_(w.layer[blockIdx.x / kBlocksOfLayer]),
        stages_(shared),
        bias_(reinterpret_cast<float*>(shared + kStages * kBytes)),
        full_(reinterpret_cast<uint64_t*>(bias_ + kBiasFloats<kWidth>)),
        empty_(full_ + kStages),
        first_out_(static_cast<int>(blockIdx.x) % kBlocksOfLayer * kOuts<kWidth>),
        warp_(static_cast<int>(threadIdx.x) / 32),
        lane_(static_cast<int>(threadIdx.x) % 32) {
    first_unit_ = w.units * blockIdx.y / w.splits;
    steps_ = static_cast<int>(w.units * (blockIdx.y + 1) / w.splits - first_unit_) * kParts;
  }

  __device__ void run() {
    if (threadIdx.x == 0) {
      for (int i = 0; i < kStages; ++i) {
        prepare_barrier(full_ + i, 1);
        prepare_barrier(empty_ + i, kFetcher<kWidth>);
      }
      publish_barriers();
    }
    __syncthreads();
    if (warp_ == kFetcher<kWidth>) {
      if (lane_ == 0) fetch();
    } else if (kWidth > 64 && 2 * layer_.input_panels <= kPanels<kWidth>) {
      add_up<std::max(kWidth / 2, 64)>();
    } else {
      add_up<kWidth>();
    }
  }

 private:
  static constexpr int kBlocksOfLayer = kWidth / kOuts<kWidth>, kOutPanels = kOuts<kWidth> / kPanelColumns;
  static constexpr int kPiece = kPieceBytes<kParts>, kBytes = kStageBytes<kWidth, kParts>;

  // [part][panel][row] of the derivatives, then of the input.
  __device__ void fetch() {
    const int panels = layer_.input_panels;
    for (int step = 0; step < steps_; ++step) {
      const int stage = step % kStages;
      const int64_t unit = first_unit_ + step / kParts;
      const int first = step % kParts * kPiece;  // its place in each panel
      wait_for_phase(empty_ + stage, step / kStages & 1 ^ 1);
      arrive_expecting(full_ + stage, kParts * (kOutPanels + panels) * kPiece);
      char* to = stages_ + stage * kBytes;
      const char* from = layer_.derivative + unit * kUnitBytes<kWidth, kParts> +
                         first_out_ / kPanelColumns * kPanelBytes + first;
      for (int part = 0; part < kParts; ++part)
        for (int i = 0; i < kOutPanels; ++i, to += kPiece)
          copy_in(to, from + (part * kPanels<kWidth> + i) * kPanelBytes, kPiece, full_ + stage);
      from = layer_.input + unit * kParts * panels * kPanelBytes + first;
      for (int part = 0; part < kParts; ++part) {
        for (int i = 0; i < panels; ++i)
          copy_in(to + i * kPiece, from + (part * panels + i) * kPanelBytes, kPiece, full_ + stage);
        to += kPanels<kWidth> * kPiece;
      }
    }
  }

  // Sums of the first kColumns of the input.
  template <int kColumns>
  __device__ void add_up() {
    float sums[kWidth / 2];
    float bias[2] = {};
    const int warpgroup = warp_ / 4;
#pragma unroll 1
    for (int step = 0; step < steps_; ++step) {
      const int stage = step % kStages;
      const char* const derivatives = stages_ + stage * kBytes + warpgroup * kPiece;
      const uint64_t a = operand_at(derivatives),
                     b = operand_at(stages_ + stage * kBytes + kParts * kOutPanels * kPiece, kPiece);
      wait_for_phase(full_ + stage, step / kStages & 1);
      begin_products();
#pragma unroll
      for (int deep = 0; deep < kPiece; deep += 16 * kPanelRowBytes) {
        const uint64_t rows = moved(a, deep), columns = moved(b, deep);
        const bool add = step > 0 || deep > 0;
        if constexpr (kParts == 2) {
          multiply_add<kColumns, true, false>(sums, moved(rows, kOutPanels * kPiece), columns, add);
          multiply_add<kColumns, true, false>(sums, rows, moved(columns, kPanels<kWidth> * kPiece), true);
        }
        multiply_add<kColumns, true, false>(sums, rows, columns, add || kParts == 2);
      }
      commit_products();
      add_to_bias(derivatives, bias);
      if (step == 0) continue;
      wait_for_products<1>();
      __syncwarp();  // all lanes have read, for the biases, what is now overwritten
      if (lane_ == 0) arrive(empty_ + (step - 1) % kStages);
    }
    wait_for_products<0>();
    write<kColumns>(sums);
    write_bias(bias);
  }

  // A warp takes a quarter of the stage's rows, a lane two columns of the
  // warpgroup's panel.
  __device__ void add_to_bias(const char* derivatives, float (&bias)[2]) const {
#pragma unroll
    for (int i = 0; i < kRows<kParts> / 4; ++i) {
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        const uint32_t both =
            *reinterpret_cast<const uint32_t*>(derivatives + part * kOutPanels * kPiece +
                                               in_panel(warp_ % 4 * (kRows<kParts> / 4) + i, 2 * lane_));
        bias[0] += __uint_as_float(both << 16);
        bias[1] += __uint_as_float(both & 0xffff0000u);
      }
    }
  }

  template <int kColumns>
  __device__ void write(const float (&sums)[kWidth / 2]) const {
    float* const parts = layer_.parts + int64_t{blockIdx.y} * kWidth * kWidth;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int out = first_out_ + 16 * warp_ + 8 * half + lane_ / 4;
      float* const to = parts + int64_t{out} * kWidth + lane_ % 4 * 2;
#pragma unroll
      for (int j = 0; j < kColumns / 8; ++j)
        *reinterpret_cast<float2*>(to + 8 * j) =
            make_float2(sums[4 * j + 2 * half], sums[4 * j + 2 * half + 1]);
    }
  }
  __device__ void write_bias(const float (&bias)[2]) const {
    const int warpgroup = warp_ / 4, thread = static_cast<int>(threadIdx.x) % 128;
    float* const quarters = bias_ + warpgroup * 4 * kPanelColumns;
    reinterpret_cast<float2*>(quarters)[thread] = make_float2(bias[0], bias[1]);
    wait_for_warpgroup(warpgroup);
    if (thread >= kPanelColumns) return;
    float sum = quarters[thread];
    for (int quarter = 1; quarter < 4; ++quarter) sum += quarters[quarter * kPanelColumns + thread];
    layer_.bias_parts[int64_t{blockIdx.y} * kWidth + first_out_ + warpgroup * kPanelColumns + thread] = sum;
  }

  const Weights& w_;
  const Weights::Layer& layer_;
  char* stages_;
  float* bias_;
  uint64_t *full_, *empty_;
  int first_out_, warp_, lane_, steps_;
  int64_t first_unit_;
};

template <int kWidth, int kParts>
__global__ void __launch_bounds__(32 * (kFetcher<kWidth> + 1), 1)
    weights_kernel(const __grid_constant__ Weights w) {
  extern __shared__ __align__(1024) char shared[];
  WeightBlock<kWidth, kParts>(w, shared).run();
}

template <int kWidth, int kParts>
void launch(const Weights& w, cudaStream_t stream) {
  constexpr int kBlocksOfLayer = kWidth / kOuts<kWidth>;
  const dim3 grid{static_cast<unsigned>(w.layers * kBlocksOfLayer), static_cast<unsigned>(w.splits)};
  launch_with(weights_kernel<kWidth, kParts>, grid, 32 * (kFetcher<kWidth> + 1), kSharedBytes<kWidth, kParts>,
              w, stream, "computing weight gradients");
}

}  // namespace

int splits_for(const Shape& shape) {
  const int layers = static_cast<int>(shape.heads.size()) + shape.trunk;
  const int blocks = layers * (shape.width / std::min(shape.width, 128));
  return static_cast<int>(
      std::clamp<int64_t>(kBlocks / blocks, 1, std::max<int64_t>(units_of(shape.rows) / 4, 1)));
}

void weight_gradients(const Weights& weights, int width, int parts, cudaStream_t stream) {
  const auto run = [&]<int kWidth>() {
    parts == 2 ? launch<kWidth, 2>(weights, stream) : launch<kWidth, 1>(weights, stream);
  };
  if (width == 256) return run.operator()<256>();
  if (width == 128) return run.operator()<128>();
  run.operator()<64>();
}

}  // namespace hopper
}  // namespace eg4d::cuda
