#pragma once

// Hopper's own instructions (sm_90a): products of bf16 or f16 by four warps
// together, which read their operands from shared memory; copies of whole
// pieces of memory that report to a barrier; and those barriers.
//
// Operands lie in panels: rows of 64 numbers (128 bytes), whose units of 16
// bytes are exclusive-or'ed with the row's number modulo 8. Products may run
// along a panel's rows or down its columns, so one layout serves as the left
// operand of a layer and, transposed, in the gradient of its weights. Pieces of
// memory that are copied hold panels as they lie in shared memory, where a
// panel begins at a multiple of 1024 bytes.

#include <cstdint>

#include "backend/cuda/tensor_core.cuh"

namespace eg4d::cuda {

inline constexpr int kPanelColumns = 64, kPanelRowBytes = 2 * kPanelColumns;

// Place in a panel of a column's number, in bytes.
__device__ inline int in_panel(int row, int column) {
  return row * kPanelRowBytes + ((column / 8) ^ (row & 7)) * 16 + column % 8 * 2;
}

// Describes an operand that begins at `at`; its panels are `stride` bytes
// apart, which counts when products run down their columns.
__device__ inline uint64_t operand_at(const void* at, int stride = 16) {
  constexpr uint64_t kSwizzled = uint64_t{1} << 62, kEightRows = 8 * kPanelRowBytes;
  return kSwizzled | (kEightRows / 16) << 32 | static_cast<uint64_t>(stride / 16) << 16 |
         (shared_address(at) & 0x3ffff) / 16;
}
// The same operand further on.
__device__ inline uint64_t moved(uint64_t operand, int bytes) {
  return operand + static_cast<uint64_t>(bytes / 16);
}

// Around products: what was written to their registers is theirs, …
__device__ inline void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
// … they are one group, …
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// … and at most kLeft groups are still running.
template <int kLeft>
__device__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

// Keeps the compiler from moving what is done with registers across the instructions above. (Loops count:
// with iterators it would put the registers into memory first.)
template <int kCount>
__device__ void hold(float (&x)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(x[i])::"memory");
}
template <int kCount>
__device__ void hold(uint32_t (&x)[kCount][4]) {
#pragma unroll
  for (int i = 0; i < 4 * kCount; ++i) asm volatile("" : "+r"(x[i / 4][i % 4])::"memory");
}

// c[64, kColumns] = a[64,16]·b[kColumns,16]ᵀ of bf16 or (kHalf) f16, added to c
// if `add`. Lane 4g + t of warp w holds of c rows 16w + g and 16w + g + 8:
// c[4j], c[4j+1] are columns 8j + 2t and the next of the first, c[4j+2],
// c[4j+3] of the other. kDown: products run down the columns of both operands'
// panels.
#define EG4D_NAMES_32                                                          \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20," \
  "%21,%22,%23,%24"                                                            \
  ",%25,%26,%27,%28,%29,%30,%31"
#define EG4D_NAMES_64                                                          \
  EG4D_NAMES_32                                                                \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%" \
  "50,%51,%52,%53,%54"                                                         \
  ",%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define EG4D_NAMES_128                                                         \
  EG4D_NAMES_64                                                                \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%" \
  "82,%83,%84,%85,%86"                                                         \
  ",%87,%88,%89,%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%" \
  "104,%105,%106,%107"                                                         \
  ",%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%"   \
  "122,%123,%124,%125"                                                         \
  ",%126,%127"
#define EG4D_C4(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define EG4D_C16(i) EG4D_C4(i), EG4D_C4(i + 4), EG4D_C4(i + 8), EG4D_C4(i + 12)
#define EG4D_C32(i) EG4D_C16(i), EG4D_C16(i + 16)
#define EG4D_C64(i) EG4D_C32(i), EG4D_C32(i + 32)
#define EG4D_MULTIPLY_ADD(shape, type, names, a_name, b_name, add_name, down_name, ...)            \
  asm volatile("{.reg .pred p; setp.ne.b32 p, " add_name                                           \
               ", 0;\n"                                                                            \
               "wgmma.mma_async.sync.aligned." shape ".f32." type "." type " {" names "}, " a_name \
               ", " b_name ", p, 1, 1, " down_name ", " down_name ";}"                             \
               : __VA_ARGS__                                                                       \
               : "l"(a), "l"(b), "r"(static_cast<int>(add)), "n"(static_cast<int>(kDown)))
template <int kColumns, bool kDown, bool kHalf, int kAll>
__device__ void multiply_add(float (&c)[kAll], uint64_t a, uint64_t b, bool add) {
  static_assert(kColumns == 64 || kColumns == 128 || kColumns == 256);
  if constexpr (kColumns == 64 && kHalf)
    EG4D_MULTIPLY_ADD("m64n64k16", "f16", EG4D_NAMES_32, "%32", "%33", "%34", "%35", EG4D_C32(0));
  else if constexpr (kColumns == 64)
    EG4D_MULTIPLY_ADD("m64n64k16", "bf16", EG4D_NAMES_32, "%32", "%33", "%34", "%35", EG4D_C32(0));
  else if constexpr (kColumns == 128 && kHalf)
    EG4D_MULTIPLY_ADD("m64n128k16", "f16", EG4D_NAMES_64, "%64", "%65", "%66", "%67", EG4D_C64(0));
  else if constexpr (kColumns == 128)
    EG4D_MULTIPLY_ADD("m64n128k16", "bf16", EG4D_NAMES_64, "%64", "%65", "%66", "%67", EG4D_C64(0));
  else if constexpr (kHalf)
    EG4D_MULTIPLY_ADD("m64n256k16", "f16", EG4D_NAMES_128, "%128", "%129", "%130", "%131", EG4D_C64(0),
                      EG4D_C64(64));
  else
    EG4D_MULTIPLY_ADD("m64n256k16", "bf16", EG4D_NAMES_128, "%128", "%129", "%130", "%131", EG4D_C64(0),
                      EG4D_C64(64));
}
#undef EG4D_MULTIPLY_ADD
#undef EG4D_C64
#undef EG4D_C32
#undef EG4D_C16
#undef EG4D_C4
#undef EG4D_NAMES_128
#undef EG4D_NAMES_64
#undef EG4D_NAMES_32

// Barriers in shared memory; a phase ends when all have arrived and all bytes
// that were announced are there.
__device__ inline void prepare_barrier(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
               : "memory");
}
// After preparing barriers, before anyone uses them.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ inline void arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
__device__ inline void arrive_expecting(uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(bytes)
               : "memory");
}
// Until the phase of this parity has ended; of a new barrier, the phase of
// parity 1 has.
__device__ inline void wait_for_phase(uint64_t* barrier, int parity) {
  for (uint32_t done = 0; !done;)
    asm volatile(
        "{.reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;}"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
}

// Read here and not later, where the value is needed.
__device__ inline float4 read_early(const float4* from) {
  float4 x;
  asm volatile("ld.global.nc.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "l"(from));
  return x;
}
__device__ inline uint2 read_early(const uint2* from) {
  uint2 x;
  asm volatile("ld.global.nc.v2.b32 {%0, %1}, [%2];" : "=r"(x.x), "=r"(x.y) : "l"(from));
  return x;
}
__device__ inline uint32_t read_early(const uint32_t* from) {
  uint32_t x;
  asm volatile("ld.global.nc.b32 %0, [%1];" : "=r"(x) : "l"(from));
  return x;
}

// Memory that is about to be read comes into the first cache: one of 128 threads reads a part, and uses it
// later.
template <int kLoads>
struct Warmed {
  uint32_t part[kLoads] = {};
  __device__ void load(const void* from, int bytes) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int at = 32 * (static_cast<int>(threadIdx.x) % 128 + 128 * i);
      if (at < bytes)
        asm volatile("ld.global.nc.b32 %0, [%1];" : "=r"(part[i]) : "l"(static_cast<const char*>(from) + at));
    }
  }
  // As if it mattered.
  __device__ void use() const {
#pragma unroll
    for (int i = 0; i < kLoads; ++i)
      asm volatile("{.reg .pred p; setp.eq.u32 p, %0, 0x7fc0dead; @p nanosleep.u32 1;}" ::"r"(part[i]));
  }
};

// Copies of multiples of 16 bytes, by one thread.
__device__ inline void copy_in(void* to, const void* from, int bytes, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::"
      "bytes [%0], [%1], %2, [%3];" ::"r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}
__device__ inline void copy_out(void* to, const void* from, int bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
               "r"(shared_address(from)), "r"(bytes)
               : "memory");
}
// Into the second cache.
__device__ inline void bring_near(const void* from, int bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}
__device__ inline void end_copies_out() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Until what this thread copies out has been read but for the last kLeft pieces, or is written.
template <int kLeft>
__device__ void wait_until_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kLeft) : "memory");
}
__device__ inline void wait_until_written() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}
// What this thread wrote to shared memory is there for products and copies; a
// barrier must follow.
__device__ inline void publish_to_copies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// The first warpgroup opens a gate once, the second waits at it.
__device__ inline void open_gate() {
  asm volatile("bar.arrive 3, 256;" ::: "memory");
}
__device__ inline void wait_at_gate() {
  asm volatile("bar.sync 3, 256;" ::: "memory");
}

// Moves registers between the warpgroups of a block. A kernel's branches for
// its roles each begin with one.
template <int kRegisters>
__device__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Waits for the other warps of the warpgroup `number` (0, 1, …).
__device__ inline void wait_for_warpgroup(int number) {
  asm volatile("bar.sync %0, 128;" ::"r"(number + 1) : "memory");
}

}  // namespace eg4d::cuda
