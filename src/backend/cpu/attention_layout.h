#pragma once

// How attention lays out what it multiplies.

#include <cstdint>

namespace eg4d::cpu {

// A tile is a few vectors wide and kRows rows high (the last one perhaps half as high); its sums stay in
// registers. Keys are packed transposed, one tile's width of keys after another; values are packed in strips
// of a tile's width. Queries are taken kQueries at a time and keys kKeyTiles tiles at a time, so that scores,
// one tile of keys and one strip of values stay in the first caches.
inline constexpr int64_t kRows = 6, kHalfRows = 3;
inline constexpr int64_t kQueries = 8 * kRows;
inline constexpr int64_t kKeyTiles = 4;

// Sizes that depend on the vectors' width.
struct AttentionLayout {
  int64_t lanes = 1, tile = 1;  // floats in a vector, in a tile's row
  int64_t packed_keys = 0;      // keys, rounded up to whole vectors
  int64_t packed_width = 0;     // head_dim, rounded up to whole vectors
  int64_t score_stride = 0;     // keys taken at a time
  int64_t key_floats = 0, value_floats = 0, working_floats = 0;
};

inline int64_t round_up(int64_t count, int64_t unit) {
  return (count + unit - 1) / unit * unit;
}

// Rows that are needed soon, too far apart for the hardware to look ahead.
template <int kCaches>  // 3: into all of them; 2: into the second, where rows do not push each other out
void prefetch(int64_t tokens, const float* rows, int64_t stride, int64_t width) {
  for (int64_t token = 0; token < tokens; ++token)
    for (int64_t c = 0; c < width; c += 16) __builtin_prefetch(rows + token * stride + c, 0, kCaches);
}

}  // namespace eg4d::cpu
