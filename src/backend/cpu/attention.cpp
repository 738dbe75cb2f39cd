#include <cstring>
#include <limits>

#include "backend/cpu/attention_layout.h"
#include "backend/cpu/neural_kernels.h"
#include "core/threads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
//
#include "backend/cpu/attention_packing-inl.h"
#include "backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

// to = from·factor
HWY_INLINE void ScaleRow(int64_t count, const float* from, float factor, float* to) {
  const Full d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t c = 0;
  for (; c + lanes <= count; c += lanes)
    hn::StoreU(hn::Mul(hn::LoadU(d, from + c), hn::Set(d, factor)), d, to + c);
  for (; c < count; ++c) to[c] = from[c] * factor;
}

// c[r][·] (+)= Σ_i a[r][i]·b[i][·] for R rows and V vectors; b's rows are V vectors long.
template <int V, int R, bool kAccumulate>
HWY_INLINE void Tile(int64_t depth, const float* HWY_RESTRICT a, int64_t a_stride,
                     const float* HWY_RESTRICT b, float* HWY_RESTRICT c, int64_t c_stride) {
  const Full d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  Vector sums[R][V];
  HWY_UNROLL(6)
  for (int r = 0; r < R; ++r) {
    HWY_UNROLL(4)
    for (int v = 0; v < V; ++v)
      sums[r][v] = kAccumulate ? hn::LoadU(d, c + r * c_stride + v * lanes) : hn::Zero(d);
  }
  for (int64_t i = 0; i < depth; ++i) {
    Vector row[V];
    HWY_UNROLL(4)
    for (int v = 0; v < V; ++v) row[v] = hn::LoadU(d, b + v * lanes);
    b += V * lanes;
    HWY_UNROLL(6)
    for (int r = 0; r < R; ++r) {
      const Vector factor = hn::Set(d, a[r * a_stride + i]);
      HWY_UNROLL(4)
      for (int v = 0; v < V; ++v) sums[r][v] = hn::MulAdd(factor, row[v], sums[r][v]);
    }
  }
  HWY_UNROLL(6)
  for (int r = 0; r < R; ++r) {
    HWY_UNROLL(4)
    for (int v = 0; v < V; ++v) hn::StoreU(sums[r][v], d, c + r * c_stride + v * lanes);
  }
}

template <int R, bool kAccumulate>
HWY_INLINE void TileOfWidth(int64_t vectors, int64_t depth, const float* a, int64_t a_stride, const float* b,
                            float* c, int64_t c_stride) {
  switch (vectors) {
    case 1:
      return Tile<1, R, kAccumulate>(depth, a, a_stride, b, c, c_stride);
    case 2:
      return Tile<2, R, kAccumulate>(depth, a, a_stride, b, c, c_stride);
    case 3:
      return Tile<3, R, kAccumulate>(depth, a, a_stride, b, c, c_stride);
    default:
      return Tile<4, R, kAccumulate>(depth, a, a_stride, b, c, c_stride);
  }
}

// All rows: multiples of kHalfRows.
template <bool kAccumulate>
void Tiles(int64_t rows, int64_t vectors, int64_t depth, const float* a, int64_t a_stride, const float* b,
           float* c, int64_t c_stride) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows)
    TileOfWidth<kRows, kAccumulate>(vectors, depth, a + r * a_stride, a_stride, b, c + r * c_stride,
                                    c_stride);
  if (r < rows)
    TileOfWidth<kHalfRows, kAccumulate>(vectors, depth, a + r * a_stride, a_stride, b, c + r * c_stride,
                                        c_stride);
}

// Scores of one query against `count` more keys become weights, relative to the largest score so far; what
// was summed under a smaller largest score is scaled down. With the first keys there is nothing yet.
template <bool kFirst>
HWY_INLINE void SoftmaxRow(const AttentionLayout& l, float* scores, int64_t count, int64_t padded,
                           float* largest, float* sum, float* output) {
  const Full d;
  const Vector none = hn::Set(d, -std::numeric_limits<float>::infinity());
  const int64_t whole = count / l.lanes * l.lanes;
  // Behind the last key. Writing these scores first would make the loads wait for the writes.
  const auto last = [&](int64_t i) HWY_ATTR {
    const auto present = hn::FirstN(d, static_cast<size_t>(std::max<int64_t>(count - i, 0)));
    return hn::IfThenElse(present, hn::LoadU(d, scores + i), none);
  };
  Vector m0 = none, m1 = none;
  int64_t i = 0;
  for (; i + 2 * l.lanes <= whole; i += 2 * l.lanes) {
    m0 = hn::Max(m0, hn::LoadU(d, scores + i));
    m1 = hn::Max(m1, hn::LoadU(d, scores + i + l.lanes));
  }
  for (; i < whole; i += l.lanes) m0 = hn::Max(m0, hn::LoadU(d, scores + i));
  for (; i < padded; i += l.lanes) m1 = hn::Max(m1, last(i));
  const float before = kFirst ? -std::numeric_limits<float>::max() : *largest;
  const float now = std::max(before, hn::GetLane(hn::MaxOfLanes(d, hn::Max(m0, m1))));
  Vector total = kFirst ? hn::Zero(d) : hn::LoadU(d, sum);
  if (!kFirst && now > before) {
    const Vector correction = exp2(d, hn::Set(d, before - now));
    total = hn::Mul(total, correction);
    for (int64_t c = 0; c < l.packed_width; c += l.lanes)
      hn::StoreU(hn::Mul(hn::LoadU(d, output + c), correction), d, output + c);
  }
  *largest = now;
  const Vector base = hn::Set(d, now);
  const auto weigh = [&](int64_t at, Vector score) HWY_ATTR {
    const Vector weight = exp2(d, hn::Sub(score, base));
    total = hn::Add(total, weight);
    hn::StoreU(weight, d, scores + at);
  };
  for (i = 0; i < whole; i += l.lanes) weigh(i, hn::LoadU(d, scores + i));
  for (; i < padded; i += l.lanes) weigh(i, last(i));
  hn::StoreU(total, d, sum);
}

// The memory of one block of queries.
struct BlockMemory {
  BlockMemory(const AttentionLayout& l, const Attention& a, float* working)
      : query(working),
        scores(query + kQueries * a.head_dim),
        output(scores + kQueries * l.score_stride),
        sums(output + kQueries * l.packed_width),
        largest(sums + kQueries * l.lanes) {}
  float *query, *scores, *output, *sums, *largest;
};

// Scores of `rows` queries, of which `count` are used, against the keys from `begin` on; their weighted sum.
template <bool kFirst>
void KeyBlock(const AttentionLayout& l, const Attention& a, int64_t first, int64_t count, int64_t rows,
              int64_t begin, const float* keys, const float* values, const BlockMemory& m) {
  const int64_t present = std::min(l.score_stride, a.keys - begin), padded = round_up(present, l.lanes);
  for (int64_t k = 0; k < padded; k += l.tile)
    Tiles<false>(rows, std::min(l.tile, padded - k) / l.lanes, a.head_dim, m.query, a.head_dim,
                 keys + (begin + k) * a.head_dim, m.scores + k, l.score_stride);
  for (int64_t r = 0; r < count; ++r) {
    const int64_t visible = a.causal ? std::clamp<int64_t>(first + r + 1 - begin, 0, present) : present;
    SoftmaxRow<kFirst>(l, m.scores + r * l.score_stride, visible, padded, m.largest + r, m.sums + r * l.lanes,
                       m.output + r * l.packed_width);
  }
  for (int64_t r = count; r < rows; ++r)
    std::memset(m.scores + r * l.score_stride, 0, static_cast<size_t>(present) * sizeof(float));
  for (int64_t c = 0; c < l.packed_width; c += l.tile) {
    const int64_t width = std::min(l.tile, l.packed_width - c);
    Tiles<!kFirst>(rows, width / l.lanes, present, m.scores, l.score_stride,
                   values + c * a.keys + begin * width, m.output + c, l.packed_width);
  }
}

// kQueries queries (or the last few) of one head, from number `first`, against all its keys. `scale` includes
// log2(e): weights are powers of two.
void QueryBlock(const AttentionLayout& l, const Attention& a, const float* queries, int64_t first,
                int64_t count, const float* keys, const float* values, float scale, float* working,
                float* y) {
  const Full d;
  const int64_t rows = round_up(count, kHalfRows);
  const BlockMemory m(l, a, working);
  for (int64_t r = 0; r < count; ++r)
    ScaleRow(a.head_dim, queries + r * a.q.token_stride, scale, m.query + r * a.head_dim);
  std::memset(m.query + count * a.head_dim, 0,
              static_cast<size_t>((rows - count) * a.head_dim) * sizeof(float));
  KeyBlock<true>(l, a, first, count, rows, 0, keys, values, m);
  for (int64_t begin = l.score_stride; begin < a.keys; begin += l.score_stride)
    KeyBlock<false>(l, a, first, count, rows, begin, keys, values, m);
  for (int64_t r = 0; r < count; ++r) {
    const float inverse = 1 / hn::GetLane(hn::SumOfLanes(d, hn::LoadU(d, m.sums + r * l.lanes)));
    ScaleRow(a.head_dim, m.output + r * l.packed_width, inverse, y + r * a.y_token_stride);
  }
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <cmath>

namespace eg4d::cpu {

HWY_EXPORT(Layout);
HWY_EXPORT(PackKeys);
HWY_EXPORT(PackValues);
HWY_EXPORT(QueryBlock);

namespace {

constexpr int64_t kPackedFloats = int64_t{1} << 24;  // packed keys and values held at a time

// One head of one sequence.
struct HeadPosition {
  int64_t outer, inner, head;
  HeadPosition(const Attention& a, int64_t index)
      : outer(index / a.heads / a.inner), inner(index / a.heads % a.inner), head(index % a.heads) {}
  const float* in(const Attention& a, const Attention::Operand& x) const {
    return x.data.f32() + outer * x.outer_stride + inner * x.inner_stride + head * a.head_dim;
  }
  float* out(const Attention& a) const {
    return a.y.f32() + outer * a.y_outer_stride + inner * a.y_inner_stride + head * a.head_dim;
  }
};

void query_block(const AttentionLayout& l, const Attention& a, const HeadPosition& position, int64_t first,
                 const float* keys, const float* values, float* working) {
  const float scale = 1.4426950408889634f / std::sqrt(static_cast<float>(a.head_dim));
  HWY_DYNAMIC_DISPATCH(QueryBlock)
  (l, a, position.in(a, a.q) + first * a.q.token_stride, first, std::min(kQueries, a.queries - first), keys,
   values, scale, working, position.out(a) + first * a.y_token_stride);
}

// Many short sequences (over the frames of a video): a thread packs and uses a head's keys at once.
void short_sequences(const AttentionLayout& l, const Attention& a, Scratch& scratch) {
  const int64_t items = a.outer * a.inner * a.heads;
  const int64_t slot = round_up(l.key_floats + l.value_floats + l.working_floats, 16);
  const int64_t slots = thread_count();
  float* memory = static_cast<float*>(scratch.get(static_cast<size_t>(slots * slot) * sizeof(float)));
  const int64_t per_slot = (items + slots - 1) / slots;
  parallel_for(slots, 1, [&](int64_t s, int64_t) {
    float* keys = memory + s * slot;
    float* values = keys + l.key_floats;
    for (int64_t i = s * per_slot; i < std::min(items, (s + 1) * per_slot); ++i) {
      const HeadPosition position(a, i);
      HWY_DYNAMIC_DISPATCH(PackKeys)
      (l, a, position.in(a, a.k), 0, (l.packed_keys + l.tile - 1) / l.tile, keys);
      HWY_DYNAMIC_DISPATCH(PackValues)(l, a, position.in(a, a.v), 0, a.keys, values);
      if (i + 1 < items) {
        const HeadPosition next(a, i + 1);
        prefetch<2>(a.keys, next.in(a, a.k), a.k.token_stride, a.head_dim);
        prefetch<2>(a.keys, next.in(a, a.v), a.v.token_stride, a.head_dim);
        prefetch<2>(a.queries, next.in(a, a.q), a.q.token_stride, a.head_dim);
        prefetch<2>(a.queries, next.out(a), a.y_token_stride, a.head_dim);
      }
      for (int64_t first = 0; first < a.queries; first += kQueries)
        query_block(l, a, position, first, keys, values, values + l.value_floats);
    }
  });
}

// Long sequences: the keys and values of some heads are packed, then all their query blocks run.
void long_sequences(const AttentionLayout& l, const Attention& a, Scratch& scratch) {
  const int64_t items = a.outer * a.inner * a.heads, slots = thread_count();
  const int64_t slot = round_up(l.key_floats + l.value_floats, 16),
                working_slot = round_up(l.working_floats, 16);
  const int64_t group = std::clamp<int64_t>(kPackedFloats / slot, 1, items);
  const int64_t blocks = (a.queries + kQueries - 1) / kQueries, tiles = (l.packed_keys + l.tile - 1) / l.tile;
  float* memory = static_cast<float*>(
      scratch.get(static_cast<size_t>(group * slot + slots * working_slot) * sizeof(float)));
  float* working = memory + group * slot;
  for (int64_t begin = 0; begin < items; begin += group) {
    const int64_t count = std::min(group, items - begin);
    parallel_for(count * tiles, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t item = i / tiles, tile = i % tiles;
        const HeadPosition position(a, begin + item);
        float* keys = memory + item * slot;
        HWY_DYNAMIC_DISPATCH(PackKeys)(l, a, position.in(a, a.k), tile, tile + 1, keys);
        HWY_DYNAMIC_DISPATCH(PackValues)
        (l, a, position.in(a, a.v), tile * l.tile, std::min((tile + 1) * l.tile, a.keys),
         keys + l.key_floats);
      }
    });
    parallel_for(count * blocks, 1, [&](int64_t i, int64_t) {
      const float* keys = memory + i / blocks * slot;
      query_block(l, a, HeadPosition(a, begin + i / blocks), i % blocks * kQueries, keys, keys + l.key_floats,
                  working + thread_number() * working_slot);
    });
  }
}

}  // namespace

void attention(const Attention& a, Scratch& scratch) {
  if (a.outer * a.inner * a.heads * a.queries * a.head_dim == 0) return;
  const AttentionLayout layout = HWY_DYNAMIC_DISPATCH(Layout)(a);
  // Both ways give the same numbers.
  const int64_t longest = std::max(a.keys, a.queries), sequences = a.outer * a.inner * a.heads;
  const bool many = sequences >= 4 * thread_count();
  if (longest <= kQueries || (longest <= 2 * kQueries && many)) {
    short_sequences(layout, a, scratch);
  } else {
    long_sequences(layout, a, scratch);
  }
}

}  // namespace eg4d::cpu
#endif
