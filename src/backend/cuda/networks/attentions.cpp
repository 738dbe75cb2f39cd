#include "backend/cuda/networks/attentions.h"

#include <algorithm>
#include <cmath>

#include "backend/cuda/networks/attention.h"
#include "backend/cuda/networks/network_kernels.h"

namespace eg4d::cuda {
namespace {

// Few sequences of many tokens, each with wide heads.
bool products_take(const Attention& a) {
  const DType type = a.q.data.type;
  return a.head_dim > 128 && a.queries >= 128 && !a.causal && a.outer * a.inner * a.heads <= 256 &&
         a.k.data.type == type && a.v.data.type == type && (a.y.type == type || a.y.type == DType::f32) &&
         a.y.data != a.q.data.data;
}

}  // namespace

void Attentions::run_products(const Attention& a, Pieces& pieces) {
  const DType type = a.q.data.type;
  const int64_t piece = std::min<int64_t>(a.queries, std::max<int64_t>((int64_t{1} << 26) / a.keys, 1));
  const auto count = static_cast<size_t>(piece * a.keys);
  auto* const scores = static_cast<float*>(pieces.take(count * sizeof(float)));
  const Array weights = type == DType::f32 ? Array(scores) : Array(pieces.take(count * size_of(type)), type);
  const Pieces before = pieces;
  Pieces all = pieces;
  const auto multiply = [&](const ProductShape& shape, const ProductArrays& arrays) {
    pieces = before;
    layers_.multiply(shape, arrays, pieces);
    if (pieces.used() > all.used()) all = pieces;
  };
  for (int64_t i = 0; i < a.outer * a.inner * a.heads; ++i)
    for (int64_t begin = 0; begin < a.queries; begin += piece) {
      const int64_t head = i % a.heads, outer = i / a.heads / a.inner, inner = i / a.heads % a.inner,
                    rows = std::min(piece, a.queries - begin);
      const auto from = [&](const Attention::Operand& x, int64_t token) {
        return x.data.at(outer * x.outer_stride + inner * x.inner_stride + token * x.token_stride +
                         head * a.head_dim);
      };
      const ConstArray q = from(a.q, begin), k = from(a.k, 0), v = from(a.v, 0);
      const Array y = a.y.at(outer * a.y_outer_stride + inner * a.y_inner_stride + begin * a.y_token_stride +
                             head * a.head_dim);
      multiply({.rows = rows,
                .in = a.head_dim,
                .out = a.keys,
                .operands = type,
                .x_stride = a.q.token_stride,
                .w_stride = a.k.token_stride,
                .x_alignment = alignment_of(q.data),
                .w_alignment = alignment_of(k.data)},
               {.x = q.data, .w = k.data, .y = scores});
      if (!pieces.counting())
        softmax_rows({.rows = rows,
                      .width = a.keys,
                      .scale = 1 / std::sqrt(static_cast<float>(a.head_dim)),
                      .x = scores,
                      .y = weights},
                     stream_);
      multiply({.rows = rows,
                .in = a.head_dim,
                .out = a.keys,
                .operands = type,
                .result = y.type,
                .form = ProductShape::Form::back,
                .w_stride = a.v.token_stride,
                .y_stride = a.y_token_stride,
                .w_alignment = alignment_of(v.data),
                .y_alignment = alignment_of(y.data)},
               {.x = weights.data, .w = v.data, .y = y.data});
    }
  pieces = all;
}

void Attentions::run(const Attention& a, Pieces& pieces) {
  if (products_take(a)) return run_products(a, pieces);
  void* const workspace = pieces.take(attention_workspace_bytes(a));
  if (!pieces.counting()) attention(a, workspace, stream_);
}

}  // namespace eg4d::cuda
