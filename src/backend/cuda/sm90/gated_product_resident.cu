// For short sums (at most 640): a block keeps its 128 rows in shared memory and goes along all columns, 64
// values and their 64 gates at a time. Each of its two warpgroups has two such sums: while the tensor cores
// add up one, the gates of the other are computed. Two blocks that lie below each other (a cluster) share the
// weights that pass by.

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/sm90/gated_product.h"
#include "backend/cuda/sm90/matrix_map.h"
#include "backend/cuda/sm90/tiles.cuh"
#include "backend/cuda/sm90/wgmma_64_128.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kWidth = 64, kCluster = 2, kMostSteps = 10, kMostStages = 6;
constexpr int kSliceBytes = kTileRows * kDepth * 2;   // of the block's rows
constexpr int kHalfStageBytes = kWidth * kDepth * 2;  // values' weights, or gates'
constexpr int kStageBytes = 2 * kHalfStageBytes;
constexpr int kResultBytes = 64 * 128;   // of a warpgroup
constexpr int kWarps = 2 * kGroup / 32;  // that multiply

struct Barriers {
  uint64_t full[kMostStages], empty[kMostStages], rows_full[kMostSteps], rows_empty[kMostSteps];
};
struct Sizes {
  int64_t width, blocks;      // values; row blocks of a cluster
  int steps, stages, across;  // across: tiles of 64 values
};
struct Places {
  uint8_t *rows, *stages, *results;
  Barriers* barriers;
  __device__ Places(uint8_t* memory, const Sizes& sizes) {
    rows = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(memory) + 1023) / 1024 * 1024);
    stages = rows + sizes.steps * kSliceBytes;
    results = stages + sizes.stages * kStageBytes;
    barriers = reinterpret_cast<Barriers*>(results + 2 * kResultBytes);
  }
};
constexpr int shared_bytes(int steps, int stages) {
  return steps * kSliceBytes + stages * kStageBytes + 2 * kResultBytes + static_cast<int>(sizeof(Barriers)) +
         1024;
}

__device__ void fetch_all(const Places& places, const CUtensorMap& x, const CUtensorMap& w,
                          const Sizes& sizes) {
  const uint32_t rank = cluster_rank();
  constexpr uint16_t kBoth = 3;
  Barriers& barriers = *places.barriers;
  Ring ring(sizes.stages);
  uint32_t rows_parity = 0;
  for (int64_t block = blockIdx.x / kCluster; block < sizes.blocks;
       block += gridDim.x / kCluster, rows_parity ^= 1) {
    const auto row = static_cast<int>((block * kCluster + rank) * kTileRows);
    for (int tile = 0; tile < sizes.across; ++tile)
      for (int step = 0; step < sizes.steps; ++step, ring.next()) {
        if (tile == 0) {
          wait_at(&barriers.rows_empty[step], rows_parity ^ 1);
          expect_bytes(&barriers.rows_full[step], kSliceBytes);
          fetch_tile(places.rows + step * kSliceBytes, x, step * kDepth, row, &barriers.rows_full[step]);
        }
        wait_at(&barriers.empty[ring.stage], ring.parity ^ 1);
        uint64_t* const full = &barriers.full[ring.stage];
        uint8_t* const stage = places.stages + ring.stage * kStageBytes;
        expect_bytes(full, kStageBytes);
        if (rank == 0)
          fetch_tile_for(kBoth, stage, w, step * kDepth, tile * kWidth, full);
        else
          fetch_tile_for(kBoth, stage + kHalfStageBytes, w, step * kDepth,
                         static_cast<int>(sizes.width) + tile * kWidth, full);
      }
  }
}

// One warpgroup's part.
template <bool kBfloat16>
struct Multiplier {
  const Places& places;
  const CUtensorMap& y;
  const float* bias;
  const Sizes& sizes;
  const int group, thread;
  Ring ring;
  uint32_t rows_parity = 0;
  int stage_before = -1;                   // whose products may still run
  int slice_before = -1;                   // which is not needed any more after them
  int row_before = 0, column_before = -1;  // of the finished sums; -1: none

  __device__ void release_before() {
    const int lane = thread % 32;
    if (stage_before >= 0 && lane < kCluster) arrive_at(&places.barriers->empty[stage_before], lane);
    if (slice_before >= 0 && lane == 0) arrive_at(&places.barriers->rows_empty[slice_before], cluster_rank());
  }

  // Adds up `now`, and puts out what `before` holds meanwhile.
  __device__ void tile(float (&now)[64], float (&before)[64], int number, int row, bool last) {
    const int each = (8 + sizes.steps - 1) / sizes.steps;  // of the eight columns' groups, per step
    uint8_t* const results = places.results + group * kResultBytes;
    for (int step = 0; step < sizes.steps; ++step, ring.next()) {
      if (number == 0) wait_at(&places.barriers->rows_full[step], rows_parity);
      wait_at(&places.barriers->full[ring.stage], ring.parity);
      const uint8_t* const rows = places.rows + step * kSliceBytes + group * (kSliceBytes / 2);
      const uint8_t* const weights = places.stages + ring.stage * kStageBytes;
      keep(now);
      begin_products();
#pragma unroll
      for (int k = 0; k < kDepth / 16; ++k)
        multiply_64_128<kBfloat16>(now, describe_rows(rows + 32 * k), describe_rows(weights + 32 * k),
                                   step > 0 || k > 0);
      commit_products();
      if (step > 0) {
        wait_for_products<1>();
        release_before();
      }
      stage_before = ring.stage;
      slice_before = last ? step : -1;
      if (column_before < 0) continue;
      if (step == 0) {
        if (thread == 0) wait_for_stores_to_read();
        sync_threads<kGroup>(1 + group);
      }
#pragma unroll
      for (int n = 0; n < 8; ++n)
        if (n / each == step) put_out(before, n, results);
      if (step == 7 / each) store(results);
    }
    // The other warpgroup has the tensor cores meanwhile.
    wait_for_products<0>();
    keep(now);
    release_before();
    row_before = row;
    column_before = number * kWidth;
  }

  __device__ void put_out(const float (&sums)[64], int n, uint8_t* results) {
    float2 value_bias{}, gate_bias{};
    if (bias) {
      const float* const at = bias + column_before + 8 * n + 2 * (thread % 4);
      value_bias = __ldg(reinterpret_cast<const float2*>(at));
      gate_bias = __ldg(reinterpret_cast<const float2*>(at + sizes.width));
    }
    gate_eight<kBfloat16>(sums + 4 * n, sums + 32 + 4 * n, value_bias, gate_bias, n, thread, results);
  }

  __device__ void store(const uint8_t* results) {
    show_to_copies();
    sync_threads<kGroup>(1 + group);
    if (thread != 0) return;
    store_tile(y, column_before, row_before, results);
    commit_stores();
  }

  __device__ void run() {
    float even[64], odd[64];
    for (int64_t block = blockIdx.x / kCluster; block < sizes.blocks; block += gridDim.x / kCluster) {
      const auto row = static_cast<int>((block * kCluster + cluster_rank()) * kTileRows) + group * 64;
      for (int number = 0; number < sizes.across; number += 2) {
        tile(even, odd, number, row, false);
        tile(odd, even, number + 1, row, number + 2 == sizes.across);
      }
      rows_parity ^= 1;
    }
    if (column_before < 0) return;
    uint8_t* const results = places.results + group * kResultBytes;
    if (thread == 0) wait_for_stores_to_read();
    sync_threads<kGroup>(1 + group);
#pragma unroll
    for (int n = 0; n < 8; ++n) put_out(odd, n, results);
    store(results);
    if (thread == 0) wait_for_stores();
  }
};

template <bool kBfloat16>
__global__ void __cluster_dims__(kCluster, 1, 1) __launch_bounds__(3 * kGroup, 1)
    resident_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w,
                    const __grid_constant__ CUtensorMap y, const float* bias, const Sizes sizes) {
  extern __shared__ uint8_t memory[];
  const Places places(memory, sizes);
  Barriers& barriers = *places.barriers;
  if (threadIdx.x == 0) {
    prefetch_map(x);
    prefetch_map(w);
    for (int i = 0; i < sizes.stages; ++i) {
      init_barrier(&barriers.full[i], 1);
      init_barrier(&barriers.empty[i], kWarps * kCluster);
    }
    for (int i = 0; i < sizes.steps; ++i) {
      init_barrier(&barriers.rows_full[i], 1);
      init_barrier(&barriers.rows_empty[i], kWarps);
    }
    fence_barriers();
  }
  cluster_sync();
  if (threadIdx.x < kGroup) {
    shrink_to<24>();
    if (threadIdx.x == 0) fetch_all(places, x, w, sizes);
    __syncwarp();
  } else {
    grow_to<240>();
    const int thread = static_cast<int>(threadIdx.x) - kGroup;
    Multiplier<kBfloat16>{places, y, bias, sizes, thread / kGroup, thread % kGroup, Ring(sizes.stages)}.run();
  }
  cluster_sync();  // the other block may still write here
}

}  // namespace

bool gated_product_resident_takes(const GatedProduct& a) {
  return a.in / kDepth <= kMostSteps && a.width % (2 * kWidth) == 0;
}

void gated_product_resident(const GatedProduct& a, int multiprocessors, cudaStream_t stream) {
  const auto kernel = a.x.type == DType::f16 ? resident_kernel<false> : resident_kernel<true>;
  Sizes sizes{};
  sizes.width = a.width;
  sizes.steps = static_cast<int>(a.in / kDepth);
  sizes.across = static_cast<int>(a.width / kWidth);
  sizes.blocks = (a.rows + kCluster * kTileRows - 1) / (kCluster * kTileRows);
  constexpr int kMostShared = 227 * 1024;
  for (sizes.stages = kMostStages; shared_bytes(sizes.steps, sizes.stages) > kMostShared;) --sizes.stages;
  const int shared = shared_bytes(sizes.steps, sizes.stages);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
        "preparing a product");
  const int64_t clusters = std::min<int64_t>(multiprocessors / kCluster, sizes.blocks);
  kernel<<<static_cast<unsigned>(clusters * kCluster), 3 * kGroup, static_cast<size_t>(shared), stream>>>(
      describe_matrix(a.x.data, a.x.type, a.rows, a.in, kTileRows),
      describe_matrix(a.w, a.x.type, 2 * a.width, a.in, kWidth),
      describe_matrix(a.y.data, a.y.type, a.rows, a.width, 64), a.bias, sizes);
  check_launch("computing a product with gates");
}

}  // namespace eg4d::cuda
