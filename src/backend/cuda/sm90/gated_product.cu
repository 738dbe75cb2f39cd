// Blocks stay and go from tile to tile: 128 rows and 128 values with their 128 gates, so that both are sums
// of the same thread. One warp fetches what the products need, four steps of 64 ahead; two warpgroups
// multiply, 64 rows each, and while one of them computes gates the other has the tensor cores. Two blocks
// that lie below each other (a cluster) share the weights: one fetches the values' for both, the other the
// gates'.

#include "backend/cuda/sm90/gated_product.h"

#include <algorithm>
#include <mutex>

#include "backend/cuda/check.h"
#include "backend/cuda/networks/typed_arrays.cuh"
#include "backend/cuda/sm90/wgmma_64_256.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kRows = 128, kWidth = 128, kDepth = 64;  // of a tile; of a step
constexpr int kStages = 4, kCluster = 2;
constexpr int kGroup = 128;                          // threads of a warpgroup
constexpr uint32_t kPartBytes = kRows * kDepth * 2;  // rows, values' weights, or gates' weights of a step

struct Stage {
  uint8_t x[kPartBytes], values[kPartBytes], gates[kPartBytes];  // weights one behind the other: 256 rows
};
struct Shared {
  Stage stages[kStages];
  uint64_t full[kStages], empty[kStages];
};
constexpr size_t kSharedBytes = sizeof(Shared) + 1024;  // to be aligned

struct Sizes {
  int64_t rows, width, tiles;  // tiles of a cluster
  int steps, across;           // tiles side by side
};

// Where the fetching warp and the warpgroups are in the ring of stages.
struct Ring {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

__device__ void fetch_all(Shared& shared, const CUtensorMap& x, const CUtensorMap& w, const Sizes& sizes) {
  const uint32_t rank = cluster_rank();
  constexpr uint16_t kBoth = 3;
  Ring ring;
  for (int64_t tile = blockIdx.x / kCluster; tile < sizes.tiles; tile += gridDim.x / kCluster) {
    const auto row = static_cast<int>((tile / sizes.across * kCluster + rank) * kRows);
    const auto column = static_cast<int>(tile % sizes.across * kWidth);
    for (int step = 0; step < sizes.steps; ++step, ring.next()) {
      wait_at(&shared.empty[ring.stage], ring.parity ^ 1);
      Stage& stage = shared.stages[ring.stage];
      uint64_t* const full = &shared.full[ring.stage];
      expect_bytes(full, 3 * kPartBytes);
      fetch_tile(stage.x, x, step * kDepth, row, full);
      if (rank == 0)
        fetch_tile_for(kBoth, stage.values, w, step * kDepth, column, full);
      else
        fetch_tile_for(kBoth, stage.gates, w, step * kDepth, static_cast<int>(sizes.width) + column, full);
    }
  }
}

// Four neighbouring results of a row, of which a lane has two, for one or two lanes' stores of 8 bytes.
template <bool kBfloat16>
__device__ void gate_and_store(const float (&c)[128], const float* bias, const Sizes& sizes,
                               int64_t first_row, int64_t first_column, uint16_t* y) {
  constexpr DType kType = kBfloat16 ? DType::bf16 : DType::f16;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < kWidth / 8; n += 2) {
    uint32_t pairs[2][2];  // by half of the rows, by group of eight columns
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const int64_t column = first_column + 8 * (n + side) + 2 * (lane % 4);
      float2 value_bias{}, gate_bias{};
      if (bias) {
        value_bias = *reinterpret_cast<const float2*>(bias + column);
        gate_bias = *reinterpret_cast<const float2*>(bias + sizes.width + column);
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float* const value = c + 4 * (n + side) + 2 * half;
        const float* const gate = value + 4 * kWidth / 8;
        pairs[half][side] =
            narrow_pair((value[0] + value_bias.x) * gelu_of_half(gate[0] + gate_bias.x),
                        (value[1] + value_bias.y) * gelu_of_half(gate[1] + gate_bias.y), kType);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      // Odd lanes give their left pair for the right one of the even lane before them.
      const bool odd = lane % 2;
      const uint32_t other = __shfl_xor_sync(~0u, odd ? pairs[half][0] : pairs[half][1], 1);
      const uint2 four = odd ? make_uint2(other, pairs[half][1]) : make_uint2(pairs[half][0], other);
      const int64_t row = first_row + lane / 4 + 8 * half;
      const int64_t column = first_column + 8 * n + (odd ? 8 : 0) + 4 * (lane % 4 / 2);
      if (row < sizes.rows) *reinterpret_cast<uint2*>(y + row * sizes.width + column) = four;
    }
  }
}

template <bool kBfloat16>
__device__ void multiply_all(Shared& shared, const float* bias, const Sizes& sizes, uint16_t* y) {
  const int group = static_cast<int>(threadIdx.x) / kGroup - 1, thread = threadIdx.x % kGroup;
  const uint32_t rank = cluster_rank();
  const auto release = [&](int stage) {
    if (thread % 32 < kCluster) arrive_at(&shared.empty[stage], thread % 32);
  };
  Ring ring;
  float c[128];
  for (int64_t tile = blockIdx.x / kCluster; tile < sizes.tiles; tile += gridDim.x / kCluster) {
    int before = -1;
    for (int step = 0; step < sizes.steps; ++step, ring.next()) {
      wait_at(&shared.full[ring.stage], ring.parity);
      const Stage& stage = shared.stages[ring.stage];
      keep(c);
      begin_products();
#pragma unroll
      for (int k = 0; k < kDepth / 16; ++k)
        multiply_64_256<kBfloat16>(c, describe_rows(stage.x + group * (kPartBytes / 2) + 32 * k),
                                   describe_rows(stage.values + 32 * k), step > 0 || k > 0);
      commit_products();
      wait_for_products<1>();
      if (before >= 0) release(before);
      before = ring.stage;
    }
    wait_for_products<0>();
    keep(c);
    release(before);
    const int64_t row = (tile / sizes.across * kCluster + rank) * kRows + group * 64 + thread / 32 * 16;
    gate_and_store<kBfloat16>(c, bias, sizes, row, tile % sizes.across * kWidth, y);
  }
}

template <bool kBfloat16>
__global__ void __cluster_dims__(kCluster, 1, 1) __launch_bounds__(3 * kGroup, 1)
    gated_product_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w,
                         const float* bias, Sizes sizes, uint16_t* y) {
  extern __shared__ uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>((reinterpret_cast<uintptr_t>(memory) + 1023) / 1024 * 1024);
  if (threadIdx.x == 0) {
    prefetch_map(x);
    prefetch_map(w);
    for (int i = 0; i < kStages; ++i) {
      init_barrier(&shared.full[i], 1);
      init_barrier(&shared.empty[i], 2 * kGroup / 32 * kCluster);  // the multiplying warps of both blocks
    }
    fence_barriers();
  }
  cluster_sync();
  if (threadIdx.x < kGroup) {
    shrink_to<24>();
    if (threadIdx.x == 0) fetch_all(shared, x, w, sizes);
    __syncwarp();
  } else {
    grow_to<240>();
    multiply_all<kBfloat16>(shared, bias, sizes, y);
  }
  cluster_sync();  // the other block may still write here
}

// ---------------------------------------------------------------- host

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// Of the driver; null where it is too old.
EncodeTiled encoder() {
  static const EncodeTiled function = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult status{};
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &status);
    if (error != cudaSuccess || status != cudaDriverEntryPointSuccess) {
      cudaGetLastError();
      found = nullptr;
    }
    return reinterpret_cast<EncodeTiled>(found);
  }();
  return function;
}

// Rows in tiles of 128 × 64; zeros outside.
CUtensorMap describe_matrix(const void* data, DType type, int64_t rows, int64_t columns) {
  const cuuint64_t extents[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(columns) * 2};
  const cuuint32_t box[] = {kDepth, kRows}, steps[] = {1, 1};
  CUtensorMap map{};
  const CUresult result = encoder()(
      &map, type == DType::f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
      const_cast<void*>(data), extents, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) throw Error("the GPU failed while describing a matrix to it");
  return map;
}

struct Card {
  int multiprocessors = 0;
  bool has_instructions = false;
};
Card card() {
  int device = 0, major = 0, minor = 0;
  Card card;
  check(cudaGetDevice(&device), "asking for its properties");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
        "asking for its properties");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device),
        "asking for its properties");
  check(cudaDeviceGetAttribute(&card.multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "asking for its properties");
  card.has_instructions = major == 9 && minor == 0;
  return card;
}

}  // namespace

bool gated_product_takes(const GatedProduct& a) {
  static const Card here = card();
  return here.has_instructions && encoder() && a.x.type != DType::f32 && a.y.type == a.x.type &&
         a.in % kDepth == 0 && a.in > 0 && a.width % kWidth == 0 && a.rows < (int64_t{1} << 31) &&
         reinterpret_cast<uintptr_t>(a.x.data) % 16 == 0 && reinterpret_cast<uintptr_t>(a.y.data) % 16 == 0;
}

void gated_product(const GatedProduct& a, cudaStream_t stream) {
  if (a.rows == 0 || a.width == 0) return;
  static const Card here = card();
  const auto kernel = a.x.type == DType::f16 ? gated_product_kernel<false> : gated_product_kernel<true>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(kSharedBytes)),
        "preparing a product");
  Sizes sizes{};
  sizes.rows = a.rows;
  sizes.width = a.width;
  sizes.steps = static_cast<int>(a.in / kDepth);
  sizes.across = static_cast<int>(a.width / kWidth);
  sizes.tiles = (a.rows + kCluster * kRows - 1) / (kCluster * kRows) * sizes.across;
  const int64_t clusters = std::min<int64_t>(here.multiprocessors / kCluster, sizes.tiles);
  kernel<<<static_cast<unsigned>(clusters * kCluster), 3 * kGroup, kSharedBytes, stream>>>(
      describe_matrix(a.x.data, a.x.type, a.rows, a.in), describe_matrix(a.w, a.x.type, 2 * a.width, a.in),
      a.bias, sizes, static_cast<uint16_t*>(a.y.data));
  check_launch("computing a product with gates");
}

}  // namespace eg4d::cuda
