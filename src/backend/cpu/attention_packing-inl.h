// Keys and values in the order in which attention multiplies them. Included once per instruction set.

#if defined(EG4D_BACKEND_CPU_ATTENTION_PACKING_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef EG4D_BACKEND_CPU_ATTENTION_PACKING_INL_H
#undef EG4D_BACKEND_CPU_ATTENTION_PACKING_INL_H
#else
#define EG4D_BACKEND_CPU_ATTENTION_PACKING_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "backend/cpu/attention_layout.h"
#include "backend/neural_ops.h"

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
  layout.score_stride = std::min(kKeyTiles * layout.tile, layout.packed_keys);
  layout.key_floats = layout.packed_keys * a.head_dim;
  layout.value_floats = a.keys * layout.packed_width;
  // Queries, scores and outputs of one block; largest score and (a vector of) sums per query.
  layout.working_floats =
      kQueries * (a.head_dim + layout.score_stride + layout.packed_width + layout.lanes + 1) + layout.lanes;
  return layout;
}

// Columns of this many keys are made at a time.
constexpr int64_t kTransposed = HWY_TARGET == HWY_SCALAR ? 1 : 4;

#if HWY_TARGET == HWY_SCALAR
void TransposeRows(int64_t width, const float* const (&rows)[1], float* to, int64_t pitch) {
  for (int64_t c = 0; c < width; ++c) to[c * pitch] = rows[0][c];
}
#else
// Four rows become columns: to[c·pitch + i] = rows[i][c]. Gathering them column by column would read every
// cache line many times, and lines of tokens that are a power of two apart push each other out.
void TransposeRows(int64_t width, const float* const (&rows)[4], float* to, int64_t pitch) {
  const Full d;
  const hn::RepartitionToWide<Full> pairs;
  const hn::FixedTag<float, 4> four;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN float columns[4][hn::MaxLanes(Full())];
  const auto store_pairs = [&](auto low, auto high, float* even, float* odd) HWY_ATTR {
    const auto first = hn::BitCast(pairs, low), second = hn::BitCast(pairs, high);
    hn::Store(hn::BitCast(d, hn::InterleaveLower(pairs, first, second)), d, even);
    hn::Store(hn::BitCast(d, hn::InterleaveUpper(pairs, first, second)), d, odd);
  };
  int64_t c = 0;
  for (; c + lanes <= width; c += lanes) {
    const Vector r0 = hn::LoadU(d, rows[0] + c), r1 = hn::LoadU(d, rows[1] + c),
                 r2 = hn::LoadU(d, rows[2] + c), r3 = hn::LoadU(d, rows[3] + c);
    // Within every block of four channels.
    store_pairs(hn::InterleaveLower(d, r0, r1), hn::InterleaveLower(d, r2, r3), columns[0], columns[1]);
    store_pairs(hn::InterleaveUpper(d, r0, r1), hn::InterleaveUpper(d, r2, r3), columns[2], columns[3]);
    HWY_UNROLL(4)
    for (size_t block = 0; block < hn::MaxLanes(d) / 4; ++block) {
      float* group = to + (c + static_cast<int64_t>(4 * block)) * pitch;
      HWY_UNROLL(4)
      for (int64_t i = 0; i < 4; ++i)
        hn::StoreU(hn::Load(four, columns[i] + 4 * block), four, group + i * pitch);
    }
  }
  for (; c < width; ++c)
    for (int64_t i = 0; i < 4; ++i) to[c * pitch + i] = rows[i][c];
}
#endif

// Keys: [tile][head_dim][tile width], the last tile only as many vectors wide as it has keys for. Lanes
// behind the last key repeat it: their scores are never used.
void PackKeys(const AttentionLayout& l, const Attention& a, const float* keys, int64_t first_tile,
              int64_t last_tile, float* packed) {
  for (int64_t tile = first_tile; tile < last_tile; ++tile) {
    const int64_t begin = tile * l.tile, width = std::min(l.tile, l.packed_keys - begin);
    for (int64_t k = 0; k < width; k += kTransposed) {
      if (const int64_t next = begin + k + kTransposed; next + kTransposed <= a.keys)
        prefetch<3>(kTransposed, keys + next * a.k.token_stride, a.k.token_stride, a.head_dim);
      const float* rows[kTransposed];
      for (int64_t i = 0; i < kTransposed; ++i)
        rows[i] = keys + std::min(begin + k + i, a.keys - 1) * a.k.token_stride;
      TransposeRows(a.head_dim, rows, packed + begin * a.head_dim + k, width);
    }
  }
}

HWY_INLINE void CopyRow(int64_t count, const float* from, float* to) {
  const Full d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t c = 0;
  for (; c + lanes <= count; c += lanes) hn::StoreU(hn::LoadU(d, from + c), d, to + c);
  for (; c < count; ++c) to[c] = from[c];
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
      CopyRow(used, values + key * a.v.token_stride + begin, to);
      for (int64_t c = used; c < width; ++c) to[c] = 0;
    }
  }
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
