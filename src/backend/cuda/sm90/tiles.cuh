#pragma once

// What the products of this folder share on the device: tiles that are copied for all blocks of a cluster,
// and gates.

#include <cuda.h>

#include "backend/cuda/networks/typed_arrays.cuh"
#include "backend/cuda/sm90/warpgroup.cuh"

namespace eg4d::cuda {

// ---------------------------------------------------------------- clusters

__device__ inline void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
__device__ inline uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// On the same barrier of block `rank` of the cluster.
__device__ inline void arrive_at(uint64_t* barrier, uint32_t rank) {
  asm volatile(
      "{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];\n}" ::"r"(shared_address(barrier)),
      "r"(rank)
      : "memory");
}
// Until the phase of that parity is over.
__device__ inline void wait_at(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@done bra over;\nbra again;\nover:\n}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

// ---------------------------------------------------------------- tiles

__device__ inline void fetch_tile(void* to, const CUtensorMap& from, int column, int row, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], "
      "[%4];" ::"r"(shared_address(to)),
      "l"(&from), "r"(column), "r"(row), "r"(shared_address(barrier))
      : "memory");
}
// To the same place of all blocks of the cluster in `mask`, which their barriers count.
__device__ inline void fetch_tile_for(uint16_t mask, void* to, const CUtensorMap& from, int column, int row,
                                      uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(to)),
      "l"(&from), "r"(column), "r"(row), "r"(shared_address(barrier)), "h"(mask)
      : "memory");
}
// A tile of shared memory to its place; what lies outside of the matrix is left out.
__device__ inline void store_tile(const CUtensorMap& to, int column, int row, const void* from) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&to),
               "r"(column), "r"(row), "r"(shared_address(from))
               : "memory");
}
// kCount threads by a barrier of their own (0 is that of __syncthreads).
template <int kCount>
__device__ inline void sync_threads(int barrier) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(kCount) : "memory");
}
__device__ inline void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// ---------------------------------------------------------------- what a block computes

constexpr int kGroup = 128;     // threads of a warpgroup
constexpr int kDepth = 64;      // numbers of a row of a tile in shared memory: 128 bytes
constexpr int kTileRows = 128;  // of what a block computes

// Where those who fetch and those who multiply are in a ring of stages.
struct Ring {
  int stages, stage = 0;
  uint32_t parity = 0;
  __device__ explicit Ring(int count) : stages(count) {}
  __device__ void next() {
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// To 2.5e-5, and what the instruction's tanh is away: half of the last place of f16.
__device__ inline float gelu_by_tanh(float x) {
  const float square = fminf(x * x, 30.0f);
  const float u = x * fmaf(fmaf(-0.000351517442f, square, 0.0370056493f), square, 0.797507881f);
  float t;
  asm("tanh.approx.f32 %0, %1;" : "=f"(t) : "f"(u));
  const float half = 0.5f * x;
  return fmaf(half, t, half);
}

// Eight columns of a warpgroup's values and gates, of which a lane has two in each of two rows, to rows of
// 128 bytes in shared memory, swizzled as copies expect them; lanes of a warp write to different banks.
// `unit`: which eight of the row. The biases are those of the lane's columns.
template <bool kBfloat16>
__device__ inline void gate_eight(const float* values, const float* gates, float2 value_bias,
                                  float2 gate_bias, int unit, int thread, uint8_t* rows) {
  constexpr DType kType = kBfloat16 ? DType::bf16 : DType::f16;
  const int lane = thread % 32, row = thread / 32 * 16 + lane / 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int at = row + 8 * half;
    *reinterpret_cast<uint32_t*>(rows + at * 128 + (unit ^ (at % 8)) * 16 + lane % 4 * 4) = narrow_pair(
        (values[2 * half] + value_bias.x) * gelu_by_tanh(gates[2 * half] + gate_bias.x),
        (values[2 * half + 1] + value_bias.y) * gelu_by_tanh(gates[2 * half + 1] + gate_bias.y), kType);
  }
}

}  // namespace eg4d::cuda
