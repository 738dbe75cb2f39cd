#include <algorithm>

#include "backend/cpu/neural_kernels.h"
#include "backend/cpu/onednn.h"

namespace eg4d::cpu {

// In pieces, so that what lies between stays in the caches.
void feed_forward(const FeedForward& a, OneDnn& onednn, Scratch& scratch) {
  constexpr int64_t kPieceFloats = int64_t{1} << 24;
  if (a.rows == 0) return;
  const int64_t piece =
      std::clamp<int64_t>(kPieceFloats / (3 * a.inner), std::min<int64_t>(a.rows, 256), a.rows);
  auto* const wide =
      static_cast<float*>(scratch.get(static_cast<size_t>(3 * piece * a.inner) * sizeof(float)));
  float* const gated = wide + 2 * piece * a.inner;
  for (int64_t begin = 0; begin < a.rows; begin += piece) {
    const int64_t rows = std::min(piece, a.rows - begin);
    const int64_t to = begin * a.narrow->extents.out;
    onednn.linear({.rows = rows, .x = a.x.at(begin * a.widen->extents.in), .weight = a.widen, .y = wide});
    geglu({.rows = rows, .width = a.inner, .x = wide, .y = gated});
    onednn.linear({.rows = rows,
                   .x = gated,
                   .weight = a.narrow,
                   .residual = a.residual ? a.residual.at(to) : ConstArray(),
                   .y = a.y.at(to)});
  }
}

void mixed_norm(const MixedNorm& a, Scratch& scratch) {
  const int64_t count = a.norm.rows * a.norm.width;
  float* const mixed = a.keep ? a.reference.f32()
                              : static_cast<float*>(scratch.get(static_cast<size_t>(count) * sizeof(float)));
  scaled_sum({.count = count,
              .a = a.reference,
              .b = a.norm.x,
              .a_scale = a.strength,
              .b_scale = 1 - a.strength,
              .y = mixed});
  LayerNorm norm = a.norm;
  norm.x = mixed;
  layer_norm(norm);
}

}  // namespace eg4d::cpu
