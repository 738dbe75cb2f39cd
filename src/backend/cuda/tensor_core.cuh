#pragma once

// Instructions of the tensor cores for bf16 with f32 sums, and what feeds them: tiles in shared memory whose
// rows are units of 16 bytes (8 numbers), the unit's number exclusive-or'ed with the row's so that the eight
// rows which one instruction reads at a time lie in different banks.

#include <cuda_bf16.h>

#include <cstdint>

namespace eg4d::cuda {

// Place of a unit in a tile with `units` (8 or a multiple) of them in a row.
__device__ inline int swizzled(int row, int unit, int units) {
  return row * units + (unit ^ (row & 7));
}
__device__ inline unsigned shared_address(const void* at) {
  return static_cast<unsigned>(__cvta_generic_to_shared(at));
}
// 16 bytes of global memory, or zeros.
__device__ inline void copy_unit_async(uint4* to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(there ? 16 : 0)
               : "memory");
}
__device__ inline void copy_float_async(float* to, const float* from, bool there) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(there ? 4 : 0)
               : "memory");
}
__device__ inline void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kLeft>
__device__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

// Four 8×8 matrices; lane 8q + r gives the address of row r of matrix q.
__device__ inline void load_matrices(uint32_t (&to)[4], const uint4* at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(at))
               : "memory");
}
__device__ inline void load_matrices_transposed(uint32_t (&to)[4], const uint4* at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(at))
               : "memory");
}

// c[16,8] += a[16,16]·b[16,8]. Lane 4g + t holds c of rows g and g+8, columns 2t and 2t+1.
__device__ inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// The same with a depth of 8.
__device__ inline void multiply_add(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(b));
}

// Two numbers, the first in the lower half.
__device__ inline uint32_t packed(float first, float second) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(first, second);
  return *reinterpret_cast<const uint32_t*>(&both);
}
inline constexpr uint32_t kPackedOnes = 0x3f803f80;

// Two neighbouring c (16 columns), packed, of a row: what a lane holds of them, and what it writes to memory
// so that a row's 32 bytes are written together.
struct PackedPair {
  uint32_t left, right;  // of columns 2t and 8 + 2t
};
__device__ inline int column_in_memory(int lane) {
  return 8 * (lane & 1) + 2 * (lane & 2);
}
__device__ inline uint2 to_memory(const PackedPair& pair, int lane) {
  const bool odd = lane & 1;
  const uint32_t other = __shfl_xor_sync(0xffffffffu, odd ? pair.left : pair.right, 1);
  return odd ? make_uint2(other, pair.right) : make_uint2(pair.left, other);
}

}  // namespace eg4d::cuda
