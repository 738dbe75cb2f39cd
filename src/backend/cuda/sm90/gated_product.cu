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
  // What a warpgroup puts out: rows of 64 numbers, swizzled as a copy of 128-byte rows expects them.
  uint8_t results[2][kWidth / 64][64 * 128];
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

// To 2.5e-5, and what the instruction's tanh is away: half of the last place of f16.
__device__ float quick_gelu_of(float x) {
  const float square = fminf(x * x, 30.0f);
  const float u = x * fmaf(fmaf(-0.000351517442f, square, 0.0370056493f), square, 0.797507881f);
  float t;
  asm("tanh.approx.f32 %0, %1;" : "=f"(t) : "f"(u));
  const float half = 0.5f * x;
  return fmaf(half, t, half);
}

// A warpgroup's sums to its part of shared memory. Lanes of a warp write to different banks.
template <bool kBfloat16>
__device__ void gate(const float (&c)[128], const float* bias, const Sizes& sizes, int64_t first_column,
                     int thread, uint8_t (&results)[kWidth / 64][64 * 128]) {
  constexpr DType kType = kBfloat16 ? DType::bf16 : DType::f16;
  const int lane = thread % 32, row = thread / 32 * 16 + lane / 4;
#pragma unroll
  for (int n = 0; n < kWidth / 8; ++n) {
    float2 value_bias{}, gate_bias{};
    if (bias) {
      const float* const at = bias + first_column + 8 * n + 2 * (lane % 4);
      value_bias = __ldg(reinterpret_cast<const float2*>(at));
      gate_bias = __ldg(reinterpret_cast<const float2*>(at + sizes.width));
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float* const value = c + 4 * n + 2 * half;
      const float* const gate = value + 4 * kWidth / 8;
      const int at = row + 8 * half, unit = (n % 8) ^ (at % 8);
      *reinterpret_cast<uint32_t*>(&results[n / 8][at * 128 + unit * 16 + lane % 4 * 4]) =
          narrow_pair((value[0] + value_bias.x) * quick_gelu_of(gate[0] + gate_bias.x),
                      (value[1] + value_bias.y) * quick_gelu_of(gate[1] + gate_bias.y), kType);
    }
  }
}

template <bool kBfloat16>
__device__ void multiply_all(Shared& shared, const float* bias, const Sizes& sizes, const CUtensorMap& y) {
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
    auto& results = shared.results[group];
    if (thread == 0) wait_for_stores_to_read();  // those of the tile before
    sync_threads<kGroup>(1 + group);
    gate<kBfloat16>(c, bias, sizes, tile % sizes.across * kWidth, thread, results);
    show_to_copies();
    sync_threads<kGroup>(1 + group);
    if (thread == 0) {
      const auto row = static_cast<int>((tile / sizes.across * kCluster + rank) * kRows + group * 64);
      const auto column = static_cast<int>(tile % sizes.across * kWidth);
      for (int part = 0; part < kWidth / 64; ++part) store_tile(y, column + 64 * part, row, results[part]);
      commit_stores();
    }
  }
  if (thread == 0) wait_for_stores();
}

template <bool kBfloat16>
__global__ void __cluster_dims__(kCluster, 1, 1) __launch_bounds__(3 * kGroup, 1)
    gated_product_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w,
                         const __grid_constant__ CUtensorMap y, const float* bias, Sizes sizes) {
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

// In tiles of so many rows and 64 columns; zeros outside.
CUtensorMap describe_matrix(const void* data, DType type, int64_t rows, int64_t columns, uint32_t tile_rows) {
  const cuuint64_t extents[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(columns) * 2};
  const cuuint32_t box[] = {kDepth, tile_rows}, steps[] = {1, 1};
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
      describe_matrix(a.x.data, a.x.type, a.rows, a.in, kRows),
      describe_matrix(a.w, a.x.type, 2 * a.width, a.in, kRows),
      describe_matrix(a.y.data, a.y.type, a.rows, a.width, 64), a.bias, sizes);
  check_launch("computing a product with gates");
}

}  // namespace eg4d::cuda
