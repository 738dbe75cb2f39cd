#include <cstring>
#include <limits>

#include "backend/cpu/neural_kernels.h"
#include "core/threads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
//
#include "backend/cpu/vector_math-inl.h"

// A tile is a few vectors wide and kRows rows high; its sums stay in registers. Keys are packed transposed,
// one tile's width of keys after another; values are packed in strips of a tile's width. Queries are taken
// kQueries at a time and keys kKeyTiles tiles at a time, so that scores, one tile of keys and one strip of
// values stay in the first caches.

#ifndef EG4D_BACKEND_CPU_ATTENTION_ONCE
#define EG4D_BACKEND_CPU_ATTENTION_ONCE
namespace eg4d::cpu {
namespace {

constexpr int64_t kRows = 6;
constexpr int64_t kQueries = 8 * kRows;
constexpr int64_t kKeyTiles = 4;

// Sizes that depend on the vectors' width.
struct AttentionLayout {
  int64_t lanes = 1, tile = 1;  // floats in a vector, in a tile's row
  int64_t packed_keys = 0;      // keys, rounded up to whole vectors
  int64_t packed_width = 0;     // head_dim, rounded up to whole vectors
  int64_t key_floats = 0, value_floats = 0, working_floats = 0;
};

int64_t round_up(int64_t count, int64_t unit) {
  return (count + unit - 1) / unit * unit;
}

}  // namespace
}  // namespace eg4d::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using Full = hn::ScalableTag<float>;
using Vector = hn::Vec<Full>;

// 6 rows of 4 vectors fill 32 registers, of 2 vectors 16.
constexpr int kVectors = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON ? 4 : 2;

AttentionLayout Layout(const Attention& a) {
  AttentionLayout layout;
  layout.lanes = static_cast<int64_t>(hn::Lanes(Full()));
  layout.tile = kVectors * layout.lanes;
  layout.packed_keys = round_up(a.keys, layout.lanes);
  layout.packed_width = round_up(a.head_dim, layout.lanes);
  layout.key_floats = layout.packed_keys * a.head_dim;
  layout.value_floats = a.keys * layout.packed_width;
  // Queries, scores and outputs of one block; largest score and (a vector of) sums per query.
  layout.working_floats =
      kQueries * (a.head_dim + kKeyTiles * layout.tile + layout.packed_width + layout.lanes + 1) +
      layout.lanes;
  return layout;
}

// Keys: [tile][head_dim][tile width], the last tile only as many vectors wide as it has keys for. Lanes
// behind the last key repeat it: their scores are never used.
void PackKeys(const AttentionLayout& l, const Attention& a, const float* keys, int64_t first_tile,
              int64_t last_tile, float* packed) {
  const Full d;
  const hn::RebindToSigned<Full> di;
  const auto stride = hn::Set(di, static_cast<int32_t>(a.k.token_stride));
  for (int64_t tile = first_tile; tile < last_tile; ++tile) {
    const int64_t begin = tile * l.tile, width = std::min(l.tile, l.packed_keys - begin);
    const float* from = keys + begin * a.k.token_stride;
    float* to = packed + begin * a.head_dim;
    for (int64_t k = 0; k < width; k += l.lanes) {
      const auto key = hn::Min(hn::Iota(di, static_cast<int32_t>(k)),
                               hn::Set(di, static_cast<int32_t>(a.keys - 1 - begin)));
      const auto index = hn::Mul(key, stride);
      for (int64_t c = 0; c < a.head_dim; ++c)
        hn::StoreU(hn::GatherIndex(d, from + c, index), d, to + c * width + k);
    }
  }
}

// Values: [strip][key][strip width], zeros behind the last channel; only the last strip may be narrower than
// a tile.
void PackValues(const AttentionLayout& l, const Attention& a, const float* values, int64_t first,
                int64_t last, float* packed) {
  for (int64_t begin = 0; begin < l.packed_width; begin += l.tile) {
    const int64_t width = std::min(l.tile, l.packed_width - begin),
                  used = std::min(width, a.head_dim - begin);
    for (int64_t key = first; key < last; ++key) {
      float* to = packed + begin * a.keys + key * width;
      std::memcpy(to, values + key * a.v.token_stride + begin, static_cast<size_t>(used) * sizeof(float));
      std::memset(to + used, 0, static_cast<size_t>(width - used) * sizeof(float));
    }
  }
}

// to = from·factor
HWY_INLINE void ScaleRow(int64_t count, const float* from, float factor, float* to) {
  const Full d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t c = 0;
  for (; c + lanes <= count; c += lanes)
    hn::StoreU(hn::Mul(hn::LoadU(d, from + c), hn::Set(d, factor)), d, to + c);
  for (; c < count; ++c) to[c] = from[c] * factor;
}

// c[r][·] (+)= Σ_i a[r][i]·b[i][·] for kRows rows and V vectors; b's rows are V vectors long.
template <int V, bool kAccumulate>
HWY_INLINE void Tile(int64_t depth, const float* HWY_RESTRICT a, int64_t a_stride,
                     const float* HWY_RESTRICT b, float* HWY_RESTRICT c, int64_t c_stride) {
  const Full d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  Vector sums[kRows][V];
  HWY_UNROLL(6)
  for (int r = 0; r < kRows; ++r) {
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
    for (int r = 0; r < kRows; ++r) {
      const Vector factor = hn::Set(d, a[r * a_stride + i]);
      HWY_UNROLL(4)
      for (int v = 0; v < V; ++v) sums[r][v] = hn::MulAdd(factor, row[v], sums[r][v]);
    }
  }
  HWY_UNROLL(6)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(4)
    for (int v = 0; v < V; ++v) hn::StoreU(sums[r][v], d, c + r * c_stride + v * lanes);
  }
}

template <bool kAccumulate>
HWY_INLINE void TileOfWidth(int64_t vectors, int64_t depth, const float* a, int64_t a_stride, const float* b,
                            float* c, int64_t c_stride) {
  switch (vectors) {
    case 1:
      Tile<1, kAccumulate>(depth, a, a_stride, b, c, c_stride);
      break;
    case 2:
      Tile<2, kAccumulate>(depth, a, a_stride, b, c, c_stride);
      break;
    case 3:
      Tile<3, kAccumulate>(depth, a, a_stride, b, c, c_stride);
      break;
    default:
      Tile<4, kAccumulate>(depth, a, a_stride, b, c, c_stride);
      break;
  }
}

// Scores of one query against `count` more keys become weights, relative to the largest score so far; what
// was summed under a smaller largest score is scaled down.
HWY_INLINE void SoftmaxRow(const AttentionLayout& l, float* scores, int64_t count, int64_t padded,
                           float* largest, float* sum, float* output) {
  const Full d;
  const Vector none = hn::Set(d, -std::numeric_limits<float>::infinity());
  for (int64_t i = count; i < padded; ++i) scores[i] = -std::numeric_limits<float>::infinity();
  Vector m0 = none, m1 = none;
  int64_t i = 0;
  for (; i + 2 * l.lanes <= padded; i += 2 * l.lanes) {
    m0 = hn::Max(m0, hn::LoadU(d, scores + i));
    m1 = hn::Max(m1, hn::LoadU(d, scores + i + l.lanes));
  }
  for (; i < padded; i += l.lanes) m0 = hn::Max(m0, hn::LoadU(d, scores + i));
  const float now = std::max(*largest, hn::GetLane(hn::MaxOfLanes(d, hn::Max(m0, m1))));
  Vector total = hn::LoadU(d, sum);
  if (now > *largest) {
    const Vector correction = exp2(d, hn::Set(d, *largest - now));
    total = hn::Mul(total, correction);
    for (int64_t c = 0; c < l.packed_width; c += l.lanes)
      hn::StoreU(hn::Mul(hn::LoadU(d, output + c), correction), d, output + c);
    *largest = now;
  }
  const Vector base = hn::Set(d, now);
  for (i = 0; i < padded; i += l.lanes) {
    const Vector weight = exp2(d, hn::Sub(hn::LoadU(d, scores + i), base));
    total = hn::Add(total, weight);
    hn::StoreU(weight, d, scores + i);
  }
  hn::StoreU(total, d, sum);
}

// kQueries queries (or the last few) of one head, from number `first`, against all its keys. `scale` includes
// log2(e): weights are powers of two.
void QueryBlock(const AttentionLayout& l, const Attention& a, const float* queries, int64_t first,
                int64_t count, const float* keys, const float* values, float scale, float* working,
                float* y) {
  const Full d;
  const int64_t rows = round_up(count, kRows), score_stride = kKeyTiles * l.tile;
  float* query = working;
  float* scores = query + kQueries * a.head_dim;
  float* output = scores + kQueries * score_stride;
  float* sums = output + kQueries * l.packed_width;
  float* largest = sums + kQueries * l.lanes;

  for (int64_t r = 0; r < rows; ++r) {
    if (r < count) {
      ScaleRow(a.head_dim, queries + r * a.q.token_stride, scale, query + r * a.head_dim);
    } else {
      std::memset(query + r * a.head_dim, 0, static_cast<size_t>(a.head_dim) * sizeof(float));
    }
    largest[r] = -std::numeric_limits<float>::max();
  }
  std::memset(output, 0, static_cast<size_t>(rows * l.packed_width) * sizeof(float));
  std::memset(sums, 0, static_cast<size_t>(rows * l.lanes) * sizeof(float));

  for (int64_t begin = 0; begin < a.keys; begin += score_stride) {
    const int64_t present = std::min(score_stride, a.keys - begin), padded = round_up(present, l.lanes);
    for (int64_t k = 0; k < padded; k += l.tile) {
      const float* tile = keys + (begin + k) * a.head_dim;
      const int64_t width = std::min(l.tile, padded - k);
      for (int64_t r = 0; r < rows; r += kRows)
        TileOfWidth<false>(width / l.lanes, a.head_dim, query + r * a.head_dim, a.head_dim, tile,
                           scores + r * score_stride + k, score_stride);
    }
    for (int64_t r = 0; r < count; ++r) {
      const int64_t visible = a.causal ? std::clamp<int64_t>(first + r + 1 - begin, 0, present) : present;
      SoftmaxRow(l, scores + r * score_stride, visible, padded, largest + r, sums + r * l.lanes,
                 output + r * l.packed_width);
    }
    for (int64_t r = count; r < rows; ++r)
      std::memset(scores + r * score_stride, 0, static_cast<size_t>(present) * sizeof(float));
    for (int64_t c = 0; c < l.packed_width; c += l.tile) {
      const int64_t width = std::min(l.tile, l.packed_width - c);
      for (int64_t r = 0; r < rows; r += kRows)
        TileOfWidth<true>(width / l.lanes, present, scores + r * score_stride, score_stride,
                          values + c * a.keys + begin * width, output + r * l.packed_width + c,
                          l.packed_width);
    }
  }
  for (int64_t r = 0; r < count; ++r) {
    const float inverse = 1 / hn::GetLane(hn::SumOfLanes(d, hn::LoadU(d, sums + r * l.lanes)));
    ScaleRow(a.head_dim, output + r * l.packed_width, inverse, y + r * a.y_token_stride);
  }
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <omp.h>

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
    return x.data + outer * x.outer_stride + inner * x.inner_stride + head * a.head_dim;
  }
  float* out(const Attention& a) const {
    return a.y + outer * a.y_outer_stride + inner * a.y_inner_stride + head * a.head_dim;
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
#pragma omp parallel for schedule(static, 1)
  for (int64_t s = 0; s < slots; ++s) {
    float* keys = memory + s * slot;
    float* values = keys + l.key_floats;
    for (int64_t i = s * per_slot; i < std::min(items, (s + 1) * per_slot); ++i) {
      const HeadPosition position(a, i);
      HWY_DYNAMIC_DISPATCH(PackKeys)
      (l, a, position.in(a, a.k), 0, (l.packed_keys + l.tile - 1) / l.tile, keys);
      HWY_DYNAMIC_DISPATCH(PackValues)(l, a, position.in(a, a.v), 0, a.keys, values);
      for (int64_t first = 0; first < a.queries; first += kQueries)
        query_block(l, a, position, first, keys, values, values + l.value_floats);
    }
  }
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
#pragma omp parallel num_threads(static_cast <int>(slots))
    {
      float* own = working + omp_get_thread_num() * working_slot;
#pragma omp for schedule(dynamic, 1)
      for (int64_t i = 0; i < count * blocks; ++i) {
        const float* keys = memory + i / blocks * slot;
        query_block(l, a, HeadPosition(a, begin + i / blocks), i % blocks * kQueries, keys,
                    keys + l.key_floats, own);
      }
    }
  }
}

}  // namespace

void attention(const Attention& a, Scratch& scratch) {
  if (a.outer * a.inner * a.heads * a.queries * a.head_dim == 0) return;
  const AttentionLayout layout = HWY_DYNAMIC_DISPATCH(Layout)(a);
  if (a.keys <= kQueries && a.queries <= kQueries) {
    short_sequences(layout, a, scratch);
  } else {
    long_sequences(layout, a, scratch);
  }
}

}  // namespace eg4d::cpu
#endif
