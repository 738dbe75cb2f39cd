// Blocks stay and go from tile to tile: 128 rows and 128 values with their 128 gates, so that both are sums
// of the same thread. One warp fetches what the products need, four steps of 64 ahead, during the gates too;
// two warpgroups multiply, 64 rows each. Two blocks that lie below each other (a cluster) share the weights:
// one fetches the values' for both, the other the gates'.

#include "backend/cuda/sm90/gated_product.h"

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/sm90/matrix_map.h"
#include "backend/cuda/sm90/tiles.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kRows = kTileRows, kWidth = 128;  // of a tile
constexpr int kStages = 4, kCluster = 2;
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

__device__ void fetch_all(Shared& shared, const CUtensorMap& x, const CUtensorMap& w, const Sizes& sizes) {
  const uint32_t rank = cluster_rank();
  constexpr uint16_t kBoth = 3;
  Ring ring(kStages);
  for (int64_t tile = blockIdx.x / kCluster; tile < sizes.tiles; tile += gridDim.x / kCluster) {
    const auto row = static_cast<int>((tile / sizes.across * kCluster + rank) * kRows);
    const auto column = static_cast<int>(tile % sizes.across * kWidth);
    for (int step = 0; step < sizes.steps; ++step, ring.next()) {
      wait_at(&shared.empty[ring.stage], ring.parity ^ 1);
      Stage& stage = shared.stages[ring.stage];
      uint64_t* const full = &shared.full[ring.stage];
      arrive_expecting(full, 3 * kPartBytes);
      fetch_tile(stage.x, x, step * kDepth, row, full);
      if (rank == 0)
        fetch_tile_for(kBoth, stage.values, w, step * kDepth, column, full);
      else
        fetch_tile_for(kBoth, stage.gates, w, step * kDepth, static_cast<int>(sizes.width) + column, full);
    }
  }
}

// A warpgroup's sums to its part of shared memory.
template <bool kBfloat16>
__device__ void gate(const float (&c)[128], const float* bias, const Sizes& sizes, int64_t first_column,
                     int thread, uint8_t (&results)[kWidth / 64][64 * 128]) {
#pragma unroll
  for (int n = 0; n < kWidth / 8; ++n) {
    float2 value_bias{}, gate_bias{};
    if (bias) {
      const float* const at = bias + first_column + 8 * n + 2 * (thread % 4);
      value_bias = __ldg(reinterpret_cast<const float2*>(at));
      gate_bias = __ldg(reinterpret_cast<const float2*>(at + sizes.width));
    }
    gate_eight<kBfloat16>(c + 4 * n, c + 4 * n + 4 * kWidth / 8, value_bias, gate_bias, n % 8, thread,
                          results[n / 8]);
  }
}

template <bool kBfloat16>
__device__ void multiply_all(Shared& shared, const float* bias, const Sizes& sizes, const CUtensorMap& y) {
  const int group = static_cast<int>(threadIdx.x) / kGroup - 1, thread = threadIdx.x % kGroup;
  const uint32_t rank = cluster_rank();
  const auto release = [&](int stage) {
    if (thread % 32 < kCluster) arrive_at(&shared.empty[stage], thread % 32);
  };
  Ring ring(kStages);
  float c[128];
  for (int64_t tile = blockIdx.x / kCluster; tile < sizes.tiles; tile += gridDim.x / kCluster) {
    int before = -1;
    for (int step = 0; step < sizes.steps; ++step, ring.next()) {
      wait_at(&shared.full[ring.stage], ring.parity);
      const Stage& stage = shared.stages[ring.stage];
      hold(c);
      begin_products();
#pragma unroll
      for (int k = 0; k < kDepth / 16; ++k)
        multiply_add<256, false, !kBfloat16>(c, operand_at(stage.x + group * (kPartBytes / 2) + 32 * k),
                                             operand_at(stage.values + 32 * k), step > 0 || k > 0);
      commit_products();
      wait_for_products<1>();
      if (before >= 0) release(before);
      before = ring.stage;
    }
    wait_for_products<0>();
    hold(c);
    release(before);
    auto& results = shared.results[group];
    if (thread == 0) wait_until_read<0>();  // those of the tile before
    sync_threads<kGroup>(1 + group);
    gate<kBfloat16>(c, bias, sizes, tile % sizes.across * kWidth, thread, results);
    publish_to_copies();
    sync_threads<kGroup>(1 + group);
    if (thread == 0) {
      const auto row = static_cast<int>((tile / sizes.across * kCluster + rank) * kRows + group * 64);
      const auto column = static_cast<int>(tile % sizes.across * kWidth);
      for (int part = 0; part < kWidth / 64; ++part) store_tile(y, column + 64 * part, row, results[part]);
      end_copies_out();
    }
  }
  if (thread == 0) wait_until_written();
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
      prepare_barrier(&shared.full[i], 1);
      prepare_barrier(&shared.empty[i], 2 * kGroup / 32 * kCluster);  // the multiplying warps of both blocks
    }
    publish_barriers();
  }
  cluster_sync();
  if (threadIdx.x < kGroup) {
    give_registers<24>();
    if (threadIdx.x == 0) fetch_all(shared, x, w, sizes);
    __syncwarp();
  } else {
    take_registers<240>();
    multiply_all<kBfloat16>(shared, bias, sizes, y);
  }
  cluster_sync();  // the other block may still write here
}

// ---------------------------------------------------------------- host

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
  if (gated_product_short(a, here.multiprocessors, stream)) return;
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
