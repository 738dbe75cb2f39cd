// The gradient of attention as products of matrices: with P the weights of a block of queries,
//   d_v += Pᵀ·d_y;  d_p = d_y·vᵀ;  d_s = P∘(d_p - Σ P∘d_p)/√head_dim;  d_q += d_s·k;  d_k += d_sᵀ·q.
// A block's weights and d_s are in memory for all keys. Every product is divided in the same pieces for any
// number of threads.

#include <cmath>
#include <limits>

#include "backend/cpu/gemm.h"
#include "backend/cpu/neural_kernels.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

constexpr int64_t kQueries = 256, kQueriesPerPiece = 32, kKeysPerPiece = 256;
constexpr int64_t kRowsPerChunk = 4;

// One head of one sequence.
struct Sequence {
  const float *q, *k, *v, *d_y;
  float *d_q, *d_k, *d_v;

  Sequence(const AttentionBackward& a, int64_t index) {
    const Attention& f = a.forward;
    const int64_t outer = index / f.heads / f.inner, inner = index / f.heads % f.inner,
                  head = index % f.heads * f.head_dim;
    const auto begin = [&](const Attention::Operand& x) {
      return outer * x.outer_stride + inner * x.inner_stride + head;
    };
    q = f.q.data.f32() + begin(f.q);
    k = f.k.data.f32() + begin(f.k);
    v = f.v.data.f32() + begin(f.v);
    d_y = a.d_y + outer * f.y_outer_stride + inner * f.y_inner_stride + head;
    d_q = a.d_q + begin(f.q);
    d_k = a.d_k + begin(f.k);
    d_v = a.d_v + begin(f.v);
  }
};

// A query's scores become its weights, and the gradient of the weights that of the products q·k.
void softmax_backward(int64_t keys, int64_t visible, float scale, float* scores, float* gradients) {
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < visible; ++i) largest = std::max(largest, scores[i]);
  double sum = 0, product = 0;
  for (int64_t i = 0; i < visible; ++i) {
    scores[i] = std::exp(scale * (scores[i] - largest));
    sum += static_cast<double>(scores[i]);
    product += static_cast<double>(scores[i]) * static_cast<double>(gradients[i]);
  }
  const float inverse = static_cast<float>(1 / sum), mean = static_cast<float>(product / sum);
  for (int64_t i = 0; i < visible; ++i) {
    scores[i] *= inverse;
    gradients[i] = scores[i] * (gradients[i] - mean) * scale;
  }
  for (int64_t i = visible; i < keys; ++i) scores[i] = gradients[i] = 0;
}

// The queries [first, first + rows); scores and gradients: [rows,keys], to be written.
void query_block(const Attention& f, const Sequence& s, int64_t first, int64_t rows, float* scores,
                 float* gradients) {
  const int64_t y_stride = f.y_token_stride;
  const float *q = s.q + first * f.q.token_stride, *d_y = s.d_y + first * y_stride;
  const float scale = 1 / std::sqrt(static_cast<float>(f.head_dim));
  Gemm by_key;  // [rows,keys]: queries times keys, or d_y times values
  by_key.m = rows;
  by_key.k = f.head_dim;
  by_key.transpose_b = true;
  by_key.ldc = f.keys;
  parallel_for(f.keys, kKeysPerPiece, [&](int64_t begin, int64_t end) {
    Gemm g = by_key;
    g.n = end - begin;
    g.a = q;
    g.lda = f.q.token_stride;
    g.b = s.k + begin * f.k.token_stride;
    g.ldb = f.k.token_stride;
    g.c = scores + begin;
    gemm(g);
    g.a = d_y;
    g.lda = y_stride;
    g.b = s.v + begin * f.v.token_stride;
    g.ldb = f.v.token_stride;
    g.c = gradients + begin;
    gemm(g);
  });
  parallel_for(rows, kRowsPerChunk, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      softmax_backward(f.keys, f.causal ? std::min(first + r + 1, f.keys) : f.keys, scale,
                       scores + r * f.keys, gradients + r * f.keys);
  });
  parallel_for(f.keys, kKeysPerPiece, [&](int64_t begin, int64_t end) {
    Gemm g;  // [keys,head_dim]: sums over the block's queries
    g.m = end - begin;
    g.n = f.head_dim;
    g.k = rows;
    g.transpose_a = true;
    g.lda = f.keys;
    g.beta = 1;
    g.a = gradients + begin;
    g.b = q;
    g.ldb = f.q.token_stride;
    g.c = s.d_k + begin * f.k.token_stride;
    g.ldc = f.k.token_stride;
    gemm(g);
    g.a = scores + begin;
    g.b = d_y;
    g.ldb = y_stride;
    g.c = s.d_v + begin * f.v.token_stride;
    g.ldc = f.v.token_stride;
    gemm(g);
  });
  parallel_for(rows, kQueriesPerPiece, [&](int64_t begin, int64_t end) {
    Gemm g;
    g.m = end - begin;
    g.n = f.head_dim;
    g.k = f.keys;
    g.a = gradients + begin * f.keys;
    g.lda = f.keys;
    g.b = s.k;
    g.ldb = f.k.token_stride;
    g.c = s.d_q + (first + begin) * f.q.token_stride;
    g.ldc = f.q.token_stride;
    g.beta = 1;
    gemm(g);
  });
}

}  // namespace

void attention_backward(const AttentionBackward& a, Scratch& scratch) {
  const Attention& f = a.forward;
  const int64_t sequences = f.outer * f.inner * f.heads;
  if (sequences * f.queries * f.keys * f.head_dim == 0) return;
  const int64_t block = std::min(kQueries, f.queries) * f.keys;
  auto* scores = static_cast<float*>(scratch.get(static_cast<size_t>(2 * block) * sizeof(float)));
  for (int64_t i = 0; i < sequences; ++i) {
    const Sequence sequence(a, i);
    for (int64_t first = 0; first < f.queries; first += kQueries)
      query_block(f, sequence, first, std::min(kQueries, f.queries - first), scores, scores + block);
  }
}

}  // namespace eg4d::cpu
