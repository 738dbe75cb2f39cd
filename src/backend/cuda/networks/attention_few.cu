// Few tokens, as the frames of a video at a pixel: a warp has a head of a sequence to itself. What it waits
// for is memory, so several warps of a multiprocessor have all of theirs on the way.

#include "backend/cuda/check.h"
#include "backend/cuda/networks/attention_tiles.cuh"

namespace eg4d::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kTile = static_cast<int>(kFewTokens) * kUnits;  // units

template <DType kType>
__global__ void __launch_bounds__(32 * kWarps) attention_few_kernel(Attention a) {
  __shared__ uint4 tiles[kWarps][3][kTile];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t number = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
  if (number >= a.outer * a.inner * a.heads) return;
  const int64_t head = number % a.heads, sequence = number / a.heads;
  uint4 *const queries = tiles[warp][0], *const keys = tiles[warp][1], *const values = tiles[warp][2];
  fetch<kFewTokens, 32>(queries, tokens_of(a, a.q, a.queries, sequence, head), 0, lane);
  fetch<kFewTokens, 32>(keys, tokens_of(a, a.k, a.keys, sequence, head), 0, lane);
  fetch<kFewTokens, 32>(values, tokens_of(a, a.v, a.keys, sequence, head), 0, lane);
  commit_copies();
  wait_for_copies<0>();
  __syncwarp();
  auto* const y = static_cast<uint16_t*>(a.y.data) + sequence / a.inner * a.y_outer_stride +
                  sequence % a.inner * a.y_inner_stride + head * kHead;
  for (int64_t first = 0; first < a.queries; first += 16) {
    uint4* const own = queries + first * kUnits;
    QueryTile<kType> tile;
    tile.begin(own, lane);
    tile.template attend<kFewTokens>(keys, values, a.keys, kScoreScale, lane);
    __syncwarp();
    tile.finish(own, y + first * a.y_token_stride, a.y_token_stride, a.queries - first, lane);
  }
}

}  // namespace

void attention_of_few(const Attention& a, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((a.outer * a.inner * a.heads + kWarps - 1) / kWarps);
  if (a.y.type == DType::f16)
    attention_few_kernel<DType::f16><<<blocks, 32 * kWarps, 0, stream>>>(a);
  else
    attention_few_kernel<DType::bf16><<<blocks, 32 * kWarps, 0, stream>>>(a);
  check_launch("computing an attention of few tokens");
}

bool attention_tiles_take(const Attention& a) {
  if (a.head_dim != kHead || a.causal || a.y.type == DType::f32) return false;
  for (const Attention::Operand& x : {a.q, a.k, a.v})
    if (x.data.type != a.y.type || x.outer_stride % 8 != 0 || x.inner_stride % 8 != 0 ||
        x.token_stride % 8 != 0)
      return false;
  if (a.y_outer_stride % 8 != 0 || a.y_inner_stride % 8 != 0 || a.y_token_stride % 8 != 0) return false;
  if (!in_eights(kHead, {a.q.data, a.k.data, a.v.data, a.y})) return false;
  return (a.queries <= kFewTokens && a.keys <= kFewTokens) || a.outer * a.inner <= 65535;
}

void attention_tiles(const Attention& a, cudaStream_t stream) {
  if (a.queries <= kFewTokens && a.keys <= kFewTokens)
    attention_of_few(a, stream);
  else
    attention_of_many(a, stream);
}

}  // namespace eg4d::cuda
