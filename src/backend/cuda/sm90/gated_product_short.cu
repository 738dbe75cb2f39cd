// For short sums a block keeps all weights of some values and of their gates in shared memory and goes
// through rows, 64 at a time. Its two warpgroups take turns: while the tensor cores multiply for one, the
// other computes its gates and puts them out. One warp fetches the rows.

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/networks/attention_half.cuh"
#include "backend/cuda/sm90/gated_product.h"
#include "backend/cuda/sm90/matrix_map.h"
#include "backend/cuda/sm90/tiles.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kRows = 64, kStages = 8;
constexpr int kRowBytes = kDepth * 2, kStageBytes = kRows * kRowBytes;
constexpr int kWarps = kGroup / 32;

// Numbers of a sum, in kDepth, and values of a block.
constexpr int kSteps = 5, kWidth = 128, kStepBytes = 2 * kWidth * kRowBytes;

struct Shared {
  uint8_t weights[kSteps][kStepBytes];  // values', then gates'
  uint8_t rows[kStages][kStageBytes];
  uint64_t weights_there, weights_free, full[kStages], empty[kStages];
};
constexpr int kSharedBytes = static_cast<int>(sizeof(Shared)) + 1024;  // to be aligned

// Tiles are kRows rows of a column of kWidth values. Teams of as many blocks as there are columns have
// `share` tiles of each column, one block a column, so that they need the same rows at the same time; the
// rest of the blocks have the rest of the tiles, column by column.
struct Sizes {
  int64_t rows;
  int width, columns, down, teams, share;
};
// Tiles of a block: numbers begin … end of those that are `first` and `span` tiles below it in every column.
struct Tiles {
  int first, span, begin, end;
  __device__ Tiles(const Sizes& s, int block, int blocks) {
    const int team = block / s.columns;
    const bool whole = team < s.teams;
    first = min((whole ? team : s.teams) * s.share, s.down);
    span = whole ? min(s.share, s.down - first) : s.down - first;
    const int part = block - s.teams * s.columns, parts = blocks - s.teams * s.columns;
    const auto at = [&](int i) {
      return static_cast<int>(static_cast<int64_t>(span) * s.columns * i / max(parts, 1));
    };
    begin = whole ? block % s.columns * span : at(part);
    end = whole ? begin + span : at(part + 1);
  }
  __device__ int count() const { return end - begin; }
  __device__ int column(int i) const { return (begin + i) / span; }
  __device__ int row(int i) const { return (first + (begin + i) % span) * kRows; }
};

__device__ inline void release(uint64_t* barrier) {
  if (threadIdx.x % 32 == 0) arrive(barrier);
}

__device__ void fetch_all(Shared& shared, const CUtensorMap& x, const CUtensorMap& w, const Sizes& sizes,
                          const Tiles& tiles) {
  Ring ring(kStages);
  int column = -1, loads = 0;
  for (int i = 0; i < tiles.count(); ++i) {
    if (tiles.column(i) != column) {
      column = tiles.column(i);
      if (loads > 0) wait_for_phase(&shared.weights_free, (loads - 1) % 2);
      ++loads;
      arrive_expecting(&shared.weights_there, kSteps * kStepBytes);
      for (int step = 0; step < kSteps; ++step)
        for (int part = 0; part < 2; ++part)
          fetch_tile(shared.weights[step] + part * (kStepBytes / 2), w, step * kDepth,
                     part * sizes.width + column * kWidth, &shared.weights_there);
    }
    for (int step = 0; step < kSteps; ++step, ring.next()) {
      wait_for_phase(&shared.empty[ring.stage], static_cast<int>(ring.parity ^ 1));
      uint64_t* const full = &shared.full[ring.stage];
      arrive_expecting(full, kStageBytes);
      fetch_tile(shared.rows[ring.stage], x, step * kDepth, tiles.row(i), full);
    }
  }
}

// Of two warpgroups, one at a time multiplies; this is which barrier each waits at.
constexpr int kTurns = 1;
__device__ inline void wait_for_turn(int group) {
  sync_threads<2 * kGroup>(kTurns + group);
}
__device__ inline void pass_on(int group) {
  asm volatile("bar.arrive %0, %1;" ::"r"(kTurns + 1 - group), "n"(2 * kGroup) : "memory");
}

// A lane writes 16 bytes of a row, four side by side 64.
template <bool kBfloat16>
__device__ void put_out(const float (&c)[kWidth], const float* bias, Array y, const Sizes& sizes, int64_t row,
                        int column) {
  using T = std::conditional_t<kBfloat16, __nv_bfloat16, __half>;
  const int lane = threadIdx.x % 32;
  row += static_cast<int>(threadIdx.x) % kGroup / 32 * 16 + lane / 4;
#pragma unroll
  for (int n = 0; n < kWidth / 8; n += 4) {
    uint32_t pairs[2][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float2 value_bias{}, gate_bias{};
      if (bias) {
        const float* const at = bias + column + 8 * (n + i) + 2 * (lane % 4);
        value_bias = __ldg(reinterpret_cast<const float2*>(at));
        gate_bias = __ldg(reinterpret_cast<const float2*>(at + sizes.width));
      }
      const float* const values = c + 4 * (n + i);
      const float* const gates = values + kWidth / 2;
#pragma unroll
      for (int half = 0; half < 2; ++half)
        pairs[half][i] = packed_as<T>(
            (values[2 * half] + value_bias.x) * gelu_by_tanh(gates[2 * half] + gate_bias.x),
            (values[2 * half + 1] + value_bias.y) * gelu_by_tanh(gates[2 * half + 1] + gate_bias.y));
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint4 unit = whole_unit(pairs[half][0], pairs[half][1], pairs[half][2], pairs[half][3]);
      if (row + 8 * half < sizes.rows)
        *reinterpret_cast<uint4*>(static_cast<T*>(y.data) + (row + 8 * half) * sizes.width + column +
                                  8 * (n + lane % 4)) = unit;
    }
  }
}

template <bool kBfloat16>
__device__ void multiply_all(Shared& shared, const Tiles& tiles, const float* bias, Array y,
                             const Sizes& sizes) {
  const int group = static_cast<int>(threadIdx.x) / kGroup - 1, count = tiles.count();
  if (group == 1) pass_on(1);
  // Weights come and go alike for both groups, whether they have tiles of the column or not.
  int loaded = 0;
  const auto loads_before = [&](int i) { return tiles.column(min(i, count - 1)) - tiles.column(0); };
  const auto follow_weights = [&](int i) {
    for (const int needed = loads_before(i); loaded < needed;) {
      wait_for_phase(&shared.weights_there, ++loaded % 2);
      if (loaded < needed) release(&shared.weights_free);
    }
  };
  if (count > 0) {
    wait_for_phase(&shared.weights_there, 0);
    if (loads_before(group) > 0) release(&shared.weights_free);
    follow_weights(group);
  }
  float c[kWidth];
  for (int i = group; i < count; i += 2) {
    wait_for_turn(group);
    int before = -1;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int fetched = i * kSteps + step, stage = fetched % kStages;
      wait_for_phase(&shared.full[stage], fetched / kStages % 2);
      hold(c);
      begin_products();
#pragma unroll
      for (int k = 0; k < kDepth / 16; ++k)
        multiply_add<2 * kWidth, false, !kBfloat16>(c, operand_at(shared.rows[stage] + 32 * k),
                                                    operand_at(shared.weights[step] + 32 * k),
                                                    step > 0 || k > 0);
      commit_products();
      if (step > 0) {
        wait_for_products<1>();
        release(&shared.empty[before]);
      }
      before = stage;
    }
    pass_on(group);
    wait_for_products<0>();
    hold(c);
    release(&shared.empty[before]);
    if (loads_before(i + 2) > loaded) release(&shared.weights_free);
    put_out<kBfloat16>(c, bias, y, sizes, tiles.row(i), tiles.column(i) * kWidth);
    follow_weights(i + 2);
  }
  if (group == count % 2) wait_for_turn(group);  // which the other has passed on
}

template <bool kBfloat16>
__global__ void __launch_bounds__(3 * kGroup, 1)
    gated_short_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w,
                       const float* bias, Array y, Sizes sizes) {
  extern __shared__ uint8_t memory[];
  auto& shared = *reinterpret_cast<Shared*>((reinterpret_cast<uintptr_t>(memory) + 1023) / 1024 * 1024);
  const Tiles tiles(sizes, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
  if (threadIdx.x == 0) {
    prefetch_map(x);
    prefetch_map(w);
    prepare_barrier(&shared.weights_there, 1);
    prepare_barrier(&shared.weights_free, 2 * kWarps);
    for (int i = 0; i < kStages; ++i) {
      prepare_barrier(&shared.full[i], 1);
      prepare_barrier(&shared.empty[i], kWarps);
    }
    publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x < kGroup) {
    give_registers<24>();
    if (threadIdx.x == 0) fetch_all(shared, x, w, sizes, tiles);
    __syncwarp();
  } else {
    take_registers<240>();
    multiply_all<kBfloat16>(shared, tiles, bias, y, sizes);
  }
}

// ---------------------------------------------------------------- host

template <bool kBfloat16>
void launch(const GatedProduct& a, int multiprocessors, cudaStream_t stream) {
  const auto kernel = gated_short_kernel<kBfloat16>;
  Sizes sizes{};
  sizes.rows = a.rows;
  sizes.width = static_cast<int>(a.width);
  sizes.columns = sizes.width / kWidth;
  sizes.down = static_cast<int>((a.rows + kRows - 1) / kRows);
  sizes.teams = multiprocessors / sizes.columns;
  // Where all are in teams, this is what each team has, too.
  sizes.share =
      static_cast<int>((int64_t{sizes.down} * sizes.columns + multiprocessors - 1) / multiprocessors);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
        "preparing a product");
  kernel<<<static_cast<unsigned>(multiprocessors), 3 * kGroup, kSharedBytes, stream>>>(
      describe_matrix(a.x.data, a.x.type, a.rows, a.in, kRows),
      describe_matrix(a.w, a.x.type, 2 * a.width, a.in, kWidth), a.bias, a.y, sizes);
  check_launch("computing a product with gates");
}

}  // namespace

bool gated_product_short(const GatedProduct& a, int multiprocessors, cudaStream_t stream) {
  if (a.in != kSteps * kDepth || a.width % kWidth != 0 || a.width / kWidth > multiprocessors) return false;
  if (a.x.type == DType::f16)
    launch<false>(a, multiprocessors, stream);
  else
    launch<true>(a, multiprocessors, stream);
  return true;
}

}  // namespace eg4d::cuda
