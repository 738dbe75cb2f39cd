// Attention's backward pass as products, for a piece of a sequence's queries at a time. For the few places
// that need it: it is not fast for many short sequences.

#include <algorithm>
#include <cmath>

#include "backend/cuda/networks/attentions.h"
#include "backend/cuda/networks/network_kernels.h"

namespace eg4d::cuda {
namespace {

// A matrix of tokens.
struct Matrix {
  const float* data;
  int64_t stride;
};

ProductShape shape_of(ProductShape::Form form, int64_t rows, int64_t in, int64_t out, const Matrix& x,
                      const Matrix& w, const Matrix& y, bool add) {
  return {.rows = rows,
          .in = in,
          .out = out,
          .form = form,
          .residual = add,
          .x_stride = x.stride,
          .w_stride = w.stride,
          .y_stride = y.stride,
          .x_alignment = alignment_of(x.data),
          .w_alignment = alignment_of(w.data),
          .y_alignment = alignment_of(y.data),
          .residual_alignment = add ? alignment_of(y.data) : 256};
}

}  // namespace

void Attentions::run(const AttentionBackward& a, Pieces& pieces) {
  using Form = ProductShape::Form;
  const Attention& f = a.forward;
  const int64_t sequences = f.outer * f.inner * f.heads;
  if (sequences * f.queries * f.keys * f.head_dim == 0) return;
  const int64_t piece = std::min<int64_t>(f.queries, std::max<int64_t>((int64_t{1} << 25) / f.keys, 1));
  auto* const scores = static_cast<float*>(pieces.take(static_cast<size_t>(piece * f.keys) * sizeof(float)));
  auto* const d = static_cast<float*>(pieces.take(static_cast<size_t>(piece * f.keys) * sizeof(float)));
  const Pieces before = pieces;
  Pieces all = pieces;
  const auto multiply = [&](Form form, int64_t rows, int64_t in, int64_t out, const Matrix& x,
                            const Matrix& w, const Matrix& y, bool add) {
    pieces = before;
    auto* const to = const_cast<float*>(y.data);
    layers_.multiply(shape_of(form, rows, in, out, x, w, y, add),
                     {.x = x.data, .w = w.data, .residual = to, .y = to}, pieces);
    if (pieces.used() > all.used()) all = pieces;
  };
  for (int64_t i = 0; i < sequences; ++i) {
    const int64_t head = i % f.heads, outer = i / f.heads / f.inner, inner = i / f.heads % f.inner;
    const auto begin_of = [&](const Attention::Operand& x) {
      return outer * x.outer_stride + inner * x.inner_stride + head * f.head_dim;
    };
    const Matrix k{f.k.data.f32() + begin_of(f.k), f.k.token_stride},
        v{f.v.data.f32() + begin_of(f.v), f.v.token_stride}, d_k{a.d_k + begin_of(f.k), f.k.token_stride},
        d_v{a.d_v + begin_of(f.v), f.v.token_stride};
    for (int64_t first = 0; first < f.queries; first += piece) {
      const int64_t rows = std::min(piece, f.queries - first),
                    query = begin_of(f.q) + first * f.q.token_stride;
      const Matrix q{f.q.data.f32() + query, f.q.token_stride}, d_q{a.d_q + query, f.q.token_stride},
          d_y{a.d_y + outer * f.y_outer_stride + inner * f.y_inner_stride + head * f.head_dim +
                  first * f.y_token_stride,
              f.y_token_stride},
          weights{scores, f.keys}, d_scores{d, f.keys};
      multiply(Form::forward, rows, f.head_dim, f.keys, q, k, weights, false);
      multiply(Form::forward, rows, f.head_dim, f.keys, d_y, v, d_scores, false);
      if (!pieces.counting())
        softmax_gradients({.rows = rows,
                           .width = f.keys,
                           .scale = 1 / std::sqrt(static_cast<float>(f.head_dim)),
                           .causal = f.causal,
                           .first = first,
                           .scores = scores,
                           .d = d},
                          stream_);
      multiply(Form::back, rows, f.head_dim, f.keys, d_scores, k, d_q, true);
      multiply(Form::across, f.keys, f.head_dim, rows, d_scores, q, d_k, true);
      multiply(Form::across, f.keys, f.head_dim, rows, weights, d_y, d_v, true);
    }
  }
  pieces = all;
}

}  // namespace eg4d::cuda
