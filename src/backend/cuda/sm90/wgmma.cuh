#pragma once

// Instructions of compute capability 9.0: products of a warpgroup (128 threads) straight from shared memory,
// copies of tiles by the memory's own engine, and the barriers between the two (PTX ISA 8.0 and later).

#include <cuda.h>

#include <cstdint>

namespace eg4d::cuda {

__device__ inline uint32_t shared_place(const void* at) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}

// ---------------------------------------------------------------- barriers

__device__ inline void init_barrier(uint64_t* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_place(barrier)), "r"(arrivals)
               : "memory");
}
// The others of the cluster see barriers that were made before.
__device__ inline void fence_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ inline void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
__device__ inline uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// One arrival, and so many bytes are awaited.
__device__ inline void expect_bytes(uint64_t* barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_place(barrier)),
               "r"(bytes)
               : "memory");
}
// On the same barrier of block `rank` of the cluster.
__device__ inline void arrive_at(uint64_t* barrier, uint32_t rank) {
  asm volatile(
      "{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];\n}" ::"r"(shared_place(barrier)),
      "r"(rank)
      : "memory");
}
// Until the phase of that parity is over.
__device__ inline void wait_at(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@done bra over;\nbra again;\nover:\n}" ::"r"(shared_place(barrier)),
      "r"(parity)
      : "memory");
}

// ---------------------------------------------------------------- tiles

__device__ inline void fetch_tile(void* to, const CUtensorMap& from, int column, int row, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], "
      "[%4];" ::"r"(shared_place(to)),
      "l"(&from), "r"(column), "r"(row), "r"(shared_place(barrier))
      : "memory");
}
// To the same place of all blocks of the cluster in `mask`, which their barriers count.
__device__ inline void fetch_tile_for(uint16_t mask, void* to, const CUtensorMap& from, int column, int row,
                                      uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%2, %3}], [%4], %5;" ::"r"(shared_place(to)),
      "l"(&from), "r"(column), "r"(row), "r"(shared_place(barrier)), "h"(mask)
      : "memory");
}
// A tile of shared memory to its place; what lies outside of the matrix is left out. What threads wrote is
// shown to the copies by each of them first.
__device__ inline void show_to_copies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ inline void store_tile(const CUtensorMap& to, int column, int row, const void* from) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&to),
               "r"(column), "r"(row), "r"(shared_place(from))
               : "memory");
}
__device__ inline void commit_stores() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
__device__ inline void wait_for_stores_to_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
__device__ inline void wait_for_stores() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}
// kCount threads by a barrier of their own (0 is that of __syncthreads).
template <int kCount>
__device__ inline void sync_threads(int barrier) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(kCount) : "memory");
}
__device__ inline void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// ---------------------------------------------------------------- products

// Rows of 128 bytes (64 numbers of 16 bits), as a copy with 128-byte swizzle leaves them; groups of eight
// rows follow each other. `at` is a multiple of 1024 bytes, or so with a multiple of 32 bytes added: a later
// part of the rows.
__device__ inline uint64_t describe_rows(const void* at) {
  constexpr uint64_t kGroup = 1024 >> 4, kSwizzle128 = 1;
  return static_cast<uint64_t>((shared_place(at) & 0x3ffff) >> 4) | uint64_t{1} << 16 | kGroup << 32 |
         kSwizzle128 << 62;
}
__device__ inline void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kLeft>
__device__ inline void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}
// The compiler may not move what is read of sums over a wait.
template <int kCount>
__device__ inline void keep(float (&sums)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}

template <int kRegisters>
__device__ inline void grow_to() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void shrink_to() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace eg4d::cuda
