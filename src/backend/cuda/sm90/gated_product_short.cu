// For short sums a block keeps all weights of some values and of their gates in shared memory and goes
// through rows, 64 at a time. Its two warpgroups take turns: while the tensor cores multiply for one, the
// other computes its gates and puts them out. One warp fetches the rows; two blocks side by side (a cluster)
// may share them, of which each fetches half for both.

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

// kSteps of kDepth numbers in a sum; kWidth values of a block; kBlocks of a cluster.
template <int kSteps_, int kWidth_, int kBlocks_, bool kBfloat16_>
struct Shape {
  static constexpr int kSteps = kSteps_, kWidth = kWidth_, kBlocks = kBlocks_;
  static constexpr bool kBfloat16 = kBfloat16_;
  static constexpr int kStepBytes = 2 * kWidth * kRowBytes;
};

template <class S>
struct Shared {
  uint8_t weights[S::kSteps][S::kStepBytes];  // values', then gates'
  uint8_t rows[kStages][kStageBytes];
  uint64_t weights_there, weights_free, full[kStages], empty[kStages];
};
template <class S>
constexpr int shared_bytes() {
  return static_cast<int>(sizeof(Shared<S>)) + 1024;  // to be aligned
}

// Tiles are kRows rows of a cluster's columns. Teams of as many clusters as there are columns have `share`
// tiles of each column, one cluster a column, so that they need the same rows at the same time; the rest of
// the clusters have the rest of the tiles, column by column.
struct Sizes {
  int64_t rows;
  int width, columns, down, teams, share;
};
// Tiles of a cluster: numbers begin … end of those that are `first` and `span` tiles below it in every
// column.
struct Tiles {
  int first, span, begin, end;
  __device__ Tiles(const Sizes& s, int cluster, int clusters) {
    const int team = cluster / s.columns;
    const bool whole = team < s.teams;
    first = min((whole ? team : s.teams) * s.share, s.down);
    span = whole ? min(s.share, s.down - first) : s.down - first;
    const int part = cluster - s.teams * s.columns, parts = clusters - s.teams * s.columns;
    const auto at = [&](int i) {
      return static_cast<int>(static_cast<int64_t>(span) * s.columns * i / max(parts, 1));
    };
    begin = whole ? cluster % s.columns * span : at(part);
    end = whole ? begin + span : at(part + 1);
  }
  __device__ int count() const { return end - begin; }
  __device__ int column(int i) const { return (begin + i) / span; }
  __device__ int row(int i) const { return (first + (begin + i) % span) * kRows; }
};

// What is counted by the barriers of all blocks of the cluster.
template <class S>
__device__ void release(uint64_t* barrier) {
  if constexpr (S::kBlocks > 1) {
    if (threadIdx.x % 32 < S::kBlocks) arrive_at(barrier, threadIdx.x % 32);
  } else if (threadIdx.x % 32 == 0) {
    arrive(barrier);
  }
}
template <class S>
__device__ void wait_for(uint64_t* barrier, int parity) {
  if constexpr (S::kBlocks > 1)
    wait_at(barrier, static_cast<uint32_t>(parity));
  else
    wait_for_phase(barrier, parity);
}

template <class S>
__device__ int block_of_cluster() {
  return S::kBlocks > 1 ? static_cast<int>(cluster_rank()) : 0;
}
// The block's first value of the cluster's column.
template <class S>
__device__ int first_value(int column) {
  return (column * S::kBlocks + block_of_cluster<S>()) * S::kWidth;
}

template <class S>
__device__ void fetch_all(Shared<S>& shared, const CUtensorMap& x, const CUtensorMap& w, const Sizes& sizes,
                          const Tiles& tiles) {
  constexpr int kPart = kRows / S::kBlocks;
  const int rank = block_of_cluster<S>();
  Ring ring(kStages);
  int column = -1, loads = 0;
  for (int i = 0; i < tiles.count(); ++i) {
    if (tiles.column(i) != column) {
      column = tiles.column(i);
      if (loads > 0) wait_for_phase(&shared.weights_free, (loads - 1) % 2);
      ++loads;
      arrive_expecting(&shared.weights_there, S::kSteps * S::kStepBytes);
      for (int step = 0; step < S::kSteps; ++step)
        for (int part = 0; part < 2; ++part)
          fetch_tile(shared.weights[step] + part * (S::kStepBytes / 2), w, step * kDepth,
                     part * sizes.width + first_value<S>(column), &shared.weights_there);
    }
    for (int step = 0; step < S::kSteps; ++step, ring.next()) {
      wait_for<S>(&shared.empty[ring.stage], static_cast<int>(ring.parity ^ 1));
      uint64_t* const full = &shared.full[ring.stage];
      arrive_expecting(full, kStageBytes);
      uint8_t* const to = shared.rows[ring.stage] + rank * kPart * kRowBytes;
      if constexpr (S::kBlocks > 1)
        fetch_tile_for((1 << S::kBlocks) - 1, to, x, step * kDepth, tiles.row(i) + rank * kPart, full);
      else
        fetch_tile(to, x, step * kDepth, tiles.row(i), full);
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
template <class S>
__device__ void put_out(const float (&c)[S::kWidth], const float* bias, Array y, const Sizes& sizes,
                        int64_t row, int column) {
  using T = std::conditional_t<S::kBfloat16, __nv_bfloat16, __half>;
  const int lane = threadIdx.x % 32;
  row += static_cast<int>(threadIdx.x) % kGroup / 32 * 16 + lane / 4;
#pragma unroll
  for (int n = 0; n < S::kWidth / 8; n += 4) {
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
      const float* const gates = values + S::kWidth / 2;
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

template <class S>
__device__ void multiply_all(Shared<S>& shared, const Tiles& tiles, const float* bias, Array y,
                             const Sizes& sizes) {
  const int group = static_cast<int>(threadIdx.x) / kGroup - 1, count = tiles.count();
  if (group == 1) pass_on(1);
  // Weights come and go alike for both groups, whether they have tiles of the column or not.
  int loaded = 0;
  const auto loads_before = [&](int i) { return tiles.column(min(i, count - 1)) - tiles.column(0); };
  const auto give_back_weights = [&] {
    if (threadIdx.x % 32 == 0) arrive(&shared.weights_free);
  };
  const auto follow_weights = [&](int i) {
    for (const int needed = loads_before(i); loaded < needed;) {
      wait_for_phase(&shared.weights_there, ++loaded % 2);
      if (loaded < needed) give_back_weights();
    }
  };
  if (count > 0) {
    wait_for_phase(&shared.weights_there, 0);
    if (loads_before(group) > 0) give_back_weights();
    follow_weights(group);
  }
  float c[S::kWidth];
  for (int i = group; i < count; i += 2) {
    wait_for_turn(group);
    int before = -1;
#pragma unroll
    for (int step = 0; step < S::kSteps; ++step) {
      const int fetched = i * S::kSteps + step, stage = fetched % kStages;
      wait_for<S>(&shared.full[stage], fetched / kStages % 2);
      hold(c);
      begin_products();
#pragma unroll
      for (int k = 0; k < kDepth / 16; ++k)
        multiply_add<2 * S::kWidth, false, !S::kBfloat16>(c, operand_at(shared.rows[stage] + 32 * k),
                                                          operand_at(shared.weights[step] + 32 * k),
                                                          step > 0 || k > 0);
      commit_products();
      if (step > 0) {
        wait_for_products<1>();
        release<S>(&shared.empty[before]);
      }
      before = stage;
    }
    pass_on(group);
    wait_for_products<0>();
    hold(c);
    release<S>(&shared.empty[before]);
    if (loads_before(i + 2) > loaded) give_back_weights();
    put_out<S>(c, bias, y, sizes, tiles.row(i), first_value<S>(tiles.column(i)));
    follow_weights(i + 2);
  }
  if (group == count % 2) wait_for_turn(group);  // which the other has passed on
}

template <class S>
__global__ void __cluster_dims__(S::kBlocks, 1, 1) __launch_bounds__(3 * kGroup, 1)
    gated_short_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w,
                       const float* bias, Array y, Sizes sizes) {
  extern __shared__ uint8_t memory[];
  auto& shared = *reinterpret_cast<Shared<S>*>((reinterpret_cast<uintptr_t>(memory) + 1023) / 1024 * 1024);
  const Tiles tiles(sizes, static_cast<int>(blockIdx.x) / S::kBlocks,
                    static_cast<int>(gridDim.x) / S::kBlocks);
  if (threadIdx.x == 0) {
    prefetch_map(x);
    prefetch_map(w);
    prepare_barrier(&shared.weights_there, 1);
    prepare_barrier(&shared.weights_free, 2 * kWarps);
    for (int i = 0; i < kStages; ++i) {
      prepare_barrier(&shared.full[i], 1);
      prepare_barrier(&shared.empty[i], kWarps * S::kBlocks);
    }
    publish_barriers();
  }
  cluster_sync();
  if (threadIdx.x < kGroup) {
    give_registers<24>();
    if (threadIdx.x == 0) fetch_all<S>(shared, x, w, sizes, tiles);
    __syncwarp();
  } else {
    take_registers<240>();
    multiply_all<S>(shared, tiles, bias, y, sizes);
  }
  cluster_sync();  // the other block may still write here
}

// ---------------------------------------------------------------- host

template <class S>
bool launch(const GatedProduct& a, int multiprocessors, cudaStream_t stream) {
  const auto kernel = gated_short_kernel<S>;
  Sizes sizes{};
  sizes.rows = a.rows;
  sizes.width = static_cast<int>(a.width);
  sizes.columns = sizes.width / (S::kWidth * S::kBlocks);
  sizes.down = static_cast<int>((a.rows + kRows - 1) / kRows);
  if (sizes.columns * S::kWidth * S::kBlocks != a.width) return false;
  const int clusters = multiprocessors / S::kBlocks;
  sizes.teams = clusters / sizes.columns;
  if (sizes.teams == 0) return false;
  // Where all are in teams, this is what each team has, too.
  sizes.share = static_cast<int>((int64_t{sizes.down} * sizes.columns + clusters - 1) / clusters);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes<S>()),
        "preparing a product");
  kernel<<<static_cast<unsigned>(clusters * S::kBlocks), 3 * kGroup, shared_bytes<S>(), stream>>>(
      describe_matrix(a.x.data, a.x.type, a.rows, a.in, kRows / S::kBlocks),
      describe_matrix(a.w, a.x.type, 2 * a.width, a.in, S::kWidth), a.bias, a.y, sizes);
  check_launch("computing a product with gates");
  return true;
}

template <bool kBfloat16>
bool launch(const GatedProduct& a, int multiprocessors, cudaStream_t stream) {
  switch (a.in) {
    case 5 * kDepth:
      return launch<Shape<5, 128, 1, kBfloat16>>(a, multiprocessors, stream);
    case 10 * kDepth:
      return launch<Shape<10, 64, 2, kBfloat16>>(a, multiprocessors, stream);
    default:
      return false;
  }
}

}  // namespace

bool gated_product_short(const GatedProduct& a, int multiprocessors, cudaStream_t stream) {
  return a.x.type == DType::f16 ? launch<false>(a, multiprocessors, stream)
                                : launch<true>(a, multiprocessors, stream);
}

}  // namespace eg4d::cuda
