// Attention on sm_90a's tensor cores. A block goes through tiles of 192 queries of a head, 64 for each of
// three groups of four warps; a fourth group has the copy engine bring what they need, one tile of keys and
// values after the other, also of the next tile of queries. While a group turns scores into weights, the
// tensor cores multiply for the others, and its own last weights with values ("FlashAttention-3", Shah et al.
// 2024).

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/networks/attention_half.cuh"
#include "backend/cuda/networks/attention_kernels.h"
#include "backend/cuda/networks/attention_maps.h"
#include "backend/cuda/networks/attention_products.cuh"

namespace eg4d::cuda {
namespace {

template <class T_, int kWidth_, int kKeys_, int kGroups_>
struct Shape {
  using T = T_;
  static constexpr int kWidth = kWidth_, kKeys = kKeys_, kGroups = kGroups_;
  static constexpr int kQueries = 64 * kGroups, kThreads = 128 * (kGroups + 1);
  static constexpr int kRowBytes = 2 * kWidth, kQueryBytes = kQueries * kRowBytes,
                       kKeyBytes = kKeys * kRowBytes;
  // Small blocks share a multiprocessor in pairs.
  static constexpr int kBlocks = kGroups == 1 ? 2 : 1, kMost = (226 * 1024) / kBlocks - 2048;
  static constexpr int kStages = std::min(6, (kMost - 2 * kQueryBytes) / (2 * kKeyBytes));
  static constexpr int kBytes = 2 * kQueryBytes + 2 * kStages * kKeyBytes + 2048;  // 1024 to align it
  static constexpr int kRegisters = kGroups == 3 ? 160 : kGroups == 2 ? 240 : 216;
  static constexpr int kRegistersOfCopier = kGroups == 3 ? 32 : kGroups == 2 ? 24 : 40;
};

// Shared memory. Tiles are cut into pieces of 64 columns.
template <class S>
struct Memory {
  uint8_t queries[2][S::kQueryBytes];
  uint8_t keys[S::kStages][S::kKeyBytes];
  uint8_t values[S::kStages][S::kKeyBytes];
  uint64_t query_filled[2], query_free[2];
  uint64_t key_filled[S::kStages], key_free[S::kStages], value_filled[S::kStages], value_free[S::kStages];
};

struct Task {
  CUtensorMap q, k, v;  // columns, tokens, heads, inner, outer
  int steps[3][2];      // 0 where the tensor has no such extent: the operand is the same for all
  Attention a;
  float scale;
  unsigned blocks, tiles;  // of queries of a sequence; of all
};

// One of several places that are used in turn, and the parity of the turn.
template <int kCount>
struct Turn {
  int place = 0;
  unsigned parity = 0;
  __device__ void next() {
    if (++place < kCount) return;
    place = 0;
    parity ^= 1;
  }
};

template <class S>
__device__ void copy_rows(uint8_t* to, const CUtensorMap* from, int row, int rows, const SequenceHead& head,
                          const int (&steps)[2], uint64_t* barrier) {
  arrive_expecting(barrier, rows * S::kRowBytes);
#pragma unroll
  for (int column = 0; column < S::kWidth; column += 64)
    copy_box(to + column * rows * 2, from,
             {column, row, static_cast<int>(head.head), static_cast<int>(head.inner) * steps[0],
              static_cast<int>(head.outer) * steps[1]},
             barrier);
}

// What one thread does.
template <class S>
__device__ void copy_all(const Task& task, Memory<S>& memory) {
  Turn<2> query;
  Turn<S::kStages> stage;
  for (unsigned tile = blockIdx.x; tile < task.tiles; tile += gridDim.x) {
    const SequenceHead head(task.a, tile / task.blocks);
    const int first = static_cast<int>(tile % task.blocks) * S::kQueries;
    wait_for_phase(&memory.query_free[query.place], query.parity ^ 1);
    copy_rows<S>(memory.queries[query.place], &task.q, first, S::kQueries, head, task.steps[0],
                 &memory.query_filled[query.place]);
    query.next();
    for (int key = 0; key < task.a.keys; key += S::kKeys) {
      wait_for_phase(&memory.key_free[stage.place], stage.parity ^ 1);
      copy_rows<S>(memory.keys[stage.place], &task.k, key, S::kKeys, head, task.steps[1],
                   &memory.key_filled[stage.place]);
      wait_for_phase(&memory.value_free[stage.place], stage.parity ^ 1);
      copy_rows<S>(memory.values[stage.place], &task.v, key, S::kKeys, head, task.steps[2],
                   &memory.value_filled[stage.place]);
      stage.next();
    }
  }
}

// 64 queries of a group; rows g and 8 + g of its warp are a lane's.
template <class S>
struct Rows {
  using T = typename S::T;
  float scores[S::kKeys / 2];
  uint32_t weights[S::kKeys / 16][4];
  float sums[S::kWidth / 2];
  RunningRow rows[2];

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < S::kWidth / 2; ++i) sums[i] = 0;
    rows[0] = rows[1] = RunningRow();
  }
  __device__ void multiply_keys(const uint8_t* queries, const uint8_t* keys) {
    const uint64_t q = operand_at(queries), k = operand_at(keys);
#pragma unroll
    for (int d = 0; d < S::kWidth; d += 16) {
      const int piece = d / 64, bytes = d % 64 * 2;
      const uint64_t left = moved(q, piece * S::kQueries * 128 + bytes),
                     right = moved(k, piece * S::kKeys * 128 + bytes);
      if constexpr (S::kKeys == 112)
        Wgmma<112>::template rows<T>(scores, left, right, d > 0);
      else
        multiply_add<S::kKeys, false, std::is_same_v<T, __half>>(scores, left, right, d > 0);
    }
  }
  __device__ void multiply_values(const uint8_t* values) {
    const uint64_t v = operand_at(values, S::kKeys * 128);
#pragma unroll
    for (int k = 0; k < S::kKeys / 16; ++k)
      Wgmma<S::kWidth>::template columns<T>(sums, weights[k], v + k * 16 * 128 / 16);
  }
  // Only the first keys are there.
  __device__ void hide(int keys) {
    const int column = threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < S::kKeys / 2; ++i)
      if (i / 4 * 8 + column + i % 2 >= keys) scores[i] = -INFINITY;
  }
  // What sums must be multiplied by; whether any must.
  __device__ bool follow_tops(float scale, float (&factors)[2]) {
    float largest[2] = {rows[0].top, rows[1].top};
#pragma unroll
    for (int i = 0; i < S::kKeys / 2; i += 4) {
      largest[0] = larger(largest[0], larger(scores[i], scores[i + 1]));
      largest[1] = larger(largest[1], larger(scores[i + 2], scores[i + 3]));
    }
    largest[0] = largest_of_row(largest[0]);
    largest[1] = largest_of_row(largest[1]);
    const bool outgrown =
        __any_sync(0xffffffffu, rows[0].outgrown(largest[0], scale) || rows[1].outgrown(largest[1], scale));
    if (outgrown) {
      factors[0] = rows[0].follow(largest[0], scale);
      factors[1] = rows[1].follow(largest[1], scale);
    }
    return outgrown;
  }
  __device__ void soften(float scale) {
    const float bases[2] = {rows[0].top * scale, rows[1].top * scale};
#pragma unroll
    for (int i = 0; i < S::kKeys / 2; ++i) {
      const float x = fmaf(scores[i], scale, -bases[i / 2 % 2]);
      scores[i] = exp2_approximate(x);
      rows[i / 2 % 2].sum += scores[i];
    }
  }
  __device__ void scale_sums(const float (&factors)[2]) {
#pragma unroll
    for (int i = 0; i < S::kWidth / 2; ++i) sums[i] *= factors[i / 2 % 2];
  }
  __device__ void pack_weights() {
#pragma unroll
    for (int i = 0; i < S::kKeys / 4; ++i)
      weights[i / 4][i % 4] = packed_as<T>(scores[2 * i], scores[2 * i + 1]);
  }
  __device__ void write(int half, T* to, bool there, int units) const {
    const float inverse = 1 / sum_of_row(rows[half].sum);
#pragma unroll
    for (int n = 0; n < S::kWidth / 8; n += 4) {
      const auto pair = [&](int i) {
        const int at = 4 * (n + i) + 2 * half;
        return packed_as<T>(sums[at] * inverse, sums[at + 1] * inverse);
      };
      const uint4 unit = whole_unit(pair(0), pair(1), pair(2), pair(3));
      const int place = n + threadIdx.x % 4;
      if (there && place < units) *reinterpret_cast<uint4*>(to + 8 * place) = unit;
    }
  }
};

// Groups multiply in turn.
template <class S>
struct Order {
  int group;
  __device__ explicit Order(int g) : group(g) {
    if (group == S::kGroups - 1) pass_on();
  }
  __device__ void wait_for_turn() const {
    if (S::kGroups > 1) asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory");
  }
  __device__ void pass_on() const {
    if (S::kGroups > 1) asm volatile("bar.arrive %0, 256;" ::"r"(1 + (group + 1) % S::kGroups) : "memory");
  }
  __device__ void end() const {
    if (group == 0) wait_for_turn();
  }
};

__device__ inline void free_place(uint64_t* barrier) {
  if (threadIdx.x % 32 == 0) arrive(barrier);
}

// Before products whose registers other instructions have used, and after the wait for them.
template <class S>
__device__ __forceinline__ void hold_all(Rows<S>& work) {
  hold(work.scores);
  hold(work.sums);
  hold(work.weights);
}

// The scores with keys from `first` on are there. Tells whether sums must be multiplied by factors.
template <class S>
__device__ __forceinline__ bool soften(const Task& task, Rows<S>& work, int first, float (&factors)[2]) {
  const int present = static_cast<int>(task.a.keys) - first;
  if (present < S::kKeys) work.hide(present);
  const bool outgrown = work.follow_tops(task.scale, factors);
  work.soften(task.scale);
  return outgrown;
}

template <class S>
__device__ __forceinline__ void write(const Task& task, const Rows<S>& work, unsigned tile, int group) {
  using T = typename S::T;
  const SequenceHead head(task.a, tile / task.blocks);
  const int row = static_cast<int>(tile % task.blocks) * S::kQueries + group * 64 +
                  static_cast<int>(threadIdx.x % 128 / 32) * 16 + static_cast<int>(threadIdx.x % 32 / 4);
  T* const y = head.template out<T>(task.a);
#pragma unroll
  for (int half = 0; half < 2; ++half)
    work.write(half, y + (row + 8 * half) * task.a.y_token_stride, row + 8 * half < task.a.queries,
               static_cast<int>(task.a.head_dim / 8));
}

// What a group does, from the first tile of queries to the last.
template <class S>
__device__ __forceinline__ void compute_all(const Task& task, Memory<S>& memory, int group) {
  const Order<S> order(group);
  Turn<2> query;
  Turn<S::kStages> stage;
  Rows<S> work;
  const auto multiply_keys = [&] {
    wait_for_phase(&memory.key_filled[stage.place], stage.parity);
    begin_products();
    work.multiply_keys(memory.queries[query.place] + group * 64 * 128, memory.keys[stage.place]);
    commit_products();
  };
  const auto multiply_values = [&](const Turn<S::kStages>& of) {
    wait_for_phase(&memory.value_filled[of.place], of.parity);
    begin_products();
    work.multiply_values(memory.values[of.place]);
    commit_products();
  };
  wait_for_phase(&memory.query_filled[query.place], query.parity);
  hold_all(work);
  multiply_keys();
  wait_for_products<0>();
  hold_all(work);
  for (unsigned tile = blockIdx.x; tile < task.tiles; tile += gridDim.x) {
    float factors[2];
    work.clear();
    free_place(&memory.key_free[stage.place]);
    soften(task, work, 0, factors);
    work.pack_weights();
    // Scores with a tile of the keys become weights while those before are multiplied by their values.
    for (int key = S::kKeys; key < task.a.keys; key += S::kKeys) {
      const Turn<S::kStages> before = stage;
      stage.next();
      order.wait_for_turn();
      hold_all(work);
      multiply_keys();
      multiply_values(before);
      order.pass_on();
      wait_for_products<1>();
      hold(work.scores);
      free_place(&memory.key_free[stage.place]);
      const bool outgrown = soften(task, work, key, factors);
      wait_for_products<0>();
      hold(work.sums);
      free_place(&memory.value_free[before.place]);
      if (outgrown) work.scale_sums(factors);
      work.pack_weights();
    }
    // The last weights are multiplied by their values, and already the next queries by their first keys.
    free_place(&memory.query_free[query.place]);
    query.next();
    const Turn<S::kStages> last = stage;
    stage.next();
    if (tile + gridDim.x < task.tiles) {
      wait_for_phase(&memory.query_filled[query.place], query.parity);
      order.wait_for_turn();
      hold_all(work);
      multiply_keys();
      multiply_values(last);
      order.pass_on();
      wait_for_products<0>();
      hold_all(work);
    } else {
      hold_all(work);
      multiply_values(last);
      wait_for_products<0>();
      hold_all(work);
    }
    free_place(&memory.value_free[last.place]);
    write(task, work, tile, group);
  }
  order.end();
}

template <class S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) wgmma_kernel(const __grid_constant__ Task task) {
  extern __shared__ uint8_t unaligned[];
  Memory<S>& memory = *reinterpret_cast<Memory<S>*>(unaligned + (-shared_address(unaligned) & 1023));
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      prepare_barrier(&memory.query_filled[i], 1);
      prepare_barrier(&memory.query_free[i], 4 * S::kGroups);
    }
    for (int i = 0; i < S::kStages; ++i) {
      prepare_barrier(&memory.key_filled[i], 1);
      prepare_barrier(&memory.value_filled[i], 1);
      prepare_barrier(&memory.key_free[i], 4 * S::kGroups);
      prepare_barrier(&memory.value_free[i], 4 * S::kGroups);
    }
    publish_barriers();
  }
  __syncthreads();
  const int group = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x / 128), 0);
  if (group == 0) {
    give_registers<S::kRegistersOfCopier>();
    if (threadIdx.x == 0) copy_all<S>(task, memory);
  } else {
    take_registers<S::kRegisters>();
    compute_all<S>(task, memory, group - 1);
  }
}

// ---------------------------------------------------------------- host

template <class S>
void launch(const Attention& a, cudaStream_t stream) {
  Task task{};
  task.a = a;
  task.scale = attention_scale(a);
  task.blocks = static_cast<unsigned>((a.queries + S::kQueries - 1) / S::kQueries);
  task.tiles = static_cast<unsigned>(a.outer * a.inner * a.heads) * task.blocks;
  task.q = describe_tokens(a, a.q, a.queries, S::kQueries, task.steps[0]);
  task.k = describe_tokens(a, a.k, a.keys, S::kKeys, task.steps[1]);
  task.v = describe_tokens(a, a.v, a.keys, S::kKeys, task.steps[2]);
  int device = 0, multiprocessors = 0;
  check(cudaGetDevice(&device), "asking which it is");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "asking for its multiprocessors");
  static_assert(sizeof(Memory<S>) <= S::kBytes - 1024);
  check(cudaFuncSetAttribute(wgmma_kernel<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kBytes),
        "asking for shared memory");
  const unsigned grid = std::min(task.tiles, static_cast<unsigned>(S::kBlocks * multiprocessors));
  wgmma_kernel<S><<<grid, S::kThreads, S::kBytes, stream>>>(task);
  check_launch("computing attention");
}

template <class T>
void launch(const Attention& a, WgmmaBlocks blocks, cudaStream_t stream) {
  if (a.head_dim > 64) return launch<Shape<T, 128, 128, 2>>(a, stream);
  if (blocks == WgmmaBlocks::small) return launch<Shape<T, 64, 112, 1>>(a, stream);
  launch<Shape<T, 64, 128, 3>>(a, stream);
}

}  // namespace

void attention_wgmma(const Attention& a, WgmmaBlocks blocks, cudaStream_t stream) {
  if (a.q.data.type == DType::f16) {
    launch<__half>(a, blocks, stream);
  } else {
    launch<__nv_bfloat16>(a, blocks, stream);
  }
}

}  // namespace eg4d::cuda
