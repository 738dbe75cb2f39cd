#pragma once

// What attention on sm_90a has beside warpgroup.cuh: products whose left operand lies in registers, and
// copies of boxes of a tensor with five extents.

#include <cuda.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "backend/cuda/sm90/warpgroup.cuh"

namespace eg4d::cuda {

// d[64,kColumns] += a[64,16]·b[16,kColumns]. Lane 4g + t of warp w holds d of rows 16w + g and 8 + that,
// columns 8n + 2t and the next, at 4n.
template <int kColumns>
struct Wgmma;

#define EG4D_SUMS_64                                        \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "
#define EG4D_PLACES_64                                                                                      \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),           \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
      "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),            \
      "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),            \
      "+f"(d[30]), "+f"(d[31])
template <>
struct Wgmma<64> {
#define EG4D_PRODUCT(type)                                                         \
  asm volatile(                                                                    \
      "{.reg .pred p; setp.ne.b32 p, 1, 0; "                                       \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " " EG4D_SUMS_64 \
      "{%32,%33,%34,%35}, %36, p, 1, 1, 1;}"                                       \
      : EG4D_PLACES_64                                                             \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
  // a in registers, b's rows across the depth.
  template <class T>
  static __device__ void columns(float (&d)[32], const uint32_t (&a)[4], uint64_t b) {
    if constexpr (std::is_same_v<T, __half>) {
      EG4D_PRODUCT("f16");
    } else {
      EG4D_PRODUCT("bf16");
    }
  }
#undef EG4D_PRODUCT
};

#define EG4D_SUMS_112                                                \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"          \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
  "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
  "%48,%49,%50,%51,%52,%53,%54,%55}, "
#define EG4D_PLACES_112                                                                                     \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),           \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
      "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),            \
      "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),            \
      "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]),            \
      "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]),            \
      "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]),            \
      "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55])
template <>
struct Wgmma<112> {
#define EG4D_PRODUCT(type)                                                           \
  asm volatile(                                                                      \
      "{.reg .pred p; setp.ne.b32 p, %58, 0; "                                       \
      "wgmma.mma_async.sync.aligned.m64n112k16.f32." type "." type " " EG4D_SUMS_112 \
      "%56, %57, p, 1, 1, 0, 0;}"                                                    \
      : EG4D_PLACES_112                                                              \
      : "l"(a), "l"(b), "r"(add))
  // Rows of both lie along the depth; without `add`, d is overwritten.
  template <class T>
  static __device__ void rows(float (&d)[56], uint64_t a, uint64_t b, int add) {
    if constexpr (std::is_same_v<T, __half>) {
      EG4D_PRODUCT("f16");
    } else {
      EG4D_PRODUCT("bf16");
    }
  }
#undef EG4D_PRODUCT
};

#define EG4D_SUMS_128                                                \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"          \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
  "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
  "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, "
#define EG4D_PLACES_128                                                                                     \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),           \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
      "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),            \
      "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),            \
      "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]),            \
      "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]),            \
      "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]),            \
      "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]),            \
      "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
template <>
struct Wgmma<128> {
#define EG4D_PRODUCT(type)                                                           \
  asm volatile(                                                                      \
      "{.reg .pred p; setp.ne.b32 p, 1, 0; "                                         \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " " EG4D_SUMS_128 \
      "{%64,%65,%66,%67}, %68, p, 1, 1, 1;}"                                         \
      : EG4D_PLACES_128                                                              \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
  // a in registers, b's rows across the depth.
  template <class T>
  static __device__ void columns(float (&d)[64], const uint32_t (&a)[4], uint64_t b) {
    if constexpr (std::is_same_v<T, __half>) {
      EG4D_PRODUCT("f16");
    } else {
      EG4D_PRODUCT("bf16");
    }
  }
#undef EG4D_PRODUCT
};

// A box of the tensor, whose bytes the barrier counts; what lies outside the tensor is zero.
__device__ inline void copy_box(void* to, const CUtensorMap* from, const int (&at)[5], uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, "
      "{%2,%3,%4,%5,%6}], "
      "[%7];" ::"r"(shared_address(to)),
      "l"(from), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]), "r"(at[4]), "r"(shared_address(barrier))
      : "memory");
}

}  // namespace eg4d::cuda
