// Many tokens: a block has 128 queries of a head, its eight warps share tiles of 64 keys and values, of which
// the next is fetched meanwhile (Dao et al. 2022).

#include "backend/cuda/check.h"
#include "backend/cuda/networks/attention_tiles.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kWarps = 8, kQueries = 16 * kWarps, kKeys = 64, kBlock = 32 * kWarps;
constexpr int kTile = kKeys * kUnits;                          // units of a tile of keys, or of values
constexpr int kShared = (kQueries * kUnits + 4 * kTile) * 16;  // bytes: queries; two tiles of each

template <DType kType>
__global__ void __launch_bounds__(kBlock, 2) attention_many_kernel(Attention a) {
  extern __shared__ uint4 tiles[];
  uint4* const queries = tiles;
  uint4* const keys = queries + kQueries * kUnits;
  uint4* const values = keys + 2 * kTile;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t head = blockIdx.y, sequence = blockIdx.z;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kQueries;
  const Tokens k = tokens_of(a, a.k, a.keys, sequence, head), v = tokens_of(a, a.v, a.keys, sequence, head);

  fetch<kQueries, kBlock>(queries, tokens_of(a, a.q, a.queries, sequence, head), first, threadIdx.x);
  fetch<kKeys, kBlock>(keys, k, 0, threadIdx.x);
  fetch<kKeys, kBlock>(values, v, 0, threadIdx.x);
  commit_copies();
  QueryTile<kType> tile;
  for (int64_t begin = 0, number = 0; begin < a.keys; begin += kKeys, ++number) {
    const int now = number % 2 * kTile, next = kTile - now;
    wait_for_copies<0>();
    __syncthreads();  // the tile is there, and nobody reads the other one any more
    if (begin + kKeys < a.keys) {
      fetch<kKeys, kBlock>(keys + next, k, begin + kKeys, threadIdx.x);
      fetch<kKeys, kBlock>(values + next, v, begin + kKeys, threadIdx.x);
      commit_copies();
    }
    if (number == 0) tile.begin(queries + warp * 16 * kUnits, lane);
    tile.template attend<kKeys>(keys + now, values + now, a.keys - begin, kScoreScale, lane);
  }
  const int64_t query = first + warp * 16;
  if (query >= a.queries) return;
  auto* const y = static_cast<uint16_t*>(a.y.data) + sequence / a.inner * a.y_outer_stride +
                  sequence % a.inner * a.y_inner_stride + head * kHead + query * a.y_token_stride;
  tile.finish(queries + warp * 16 * kUnits, y, a.y_token_stride, a.queries - query, lane);
}

}  // namespace

void attention_of_many(const Attention& a, cudaStream_t stream) {
  const auto kernel =
      a.y.type == DType::f16 ? attention_many_kernel<DType::f16> : attention_many_kernel<DType::bf16>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared),
        "preparing an attention");
  const dim3 blocks(static_cast<unsigned>((a.queries + kQueries - 1) / kQueries),
                    static_cast<unsigned>(a.heads), static_cast<unsigned>(a.outer * a.inner));
  kernel<<<blocks, kBlock, kShared, stream>>>(a);
  check_launch("computing an attention");
}

}  // namespace eg4d::cuda
