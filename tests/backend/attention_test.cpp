// Attention against its definition, on every instruction set this machine has.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "backend/backend.h"
#include "support/neural_ops_fixture.h"

namespace eg4d::test {
namespace {

// q, k, v: [sequences,tokens,heads·head_dim]
Values plain_attention(const Values& q, const Values& k, const Values& v, int64_t sequences, int64_t queries,
                       int64_t keys, int64_t heads, int64_t head_dim, bool causal = false) {
  const int64_t width = heads * head_dim;
  Values y(static_cast<size_t>(sequences * queries * width));
  for (int64_t s = 0; s < sequences; ++s)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < queries; ++i) {
        const int64_t visible = causal ? std::min(i + 1, keys) : keys;
        std::vector<double> weight(static_cast<size_t>(visible));
        double largest = -1e300, sum = 0;
        for (int64_t j = 0; j < visible; ++j) {
          double& score = weight[static_cast<size_t>(j)];
          for (int64_t c = 0; c < head_dim; ++c)
            score +=
                static_cast<double>(q[static_cast<size_t>((s * queries + i) * width + h * head_dim + c)]) *
                k[static_cast<size_t>((s * keys + j) * width + h * head_dim + c)];
          largest = std::max(largest, score /= std::sqrt(static_cast<double>(head_dim)));
        }
        for (double& w : weight) sum += w = std::exp(w - largest);
        for (int64_t c = 0; c < head_dim; ++c) {
          double total = 0;
          for (int64_t j = 0; j < visible; ++j)
            total += weight[static_cast<size_t>(j)] *
                     v[static_cast<size_t>((s * keys + j) * width + h * head_dim + c)];
          y[static_cast<size_t>((s * queries + i) * width + h * head_dim + c)] =
              static_cast<float>(total / sum);
        }
      }
  return y;
}

TEST_P(NeuralOpsTest, AttentionOfPixels) {
  struct Case {
    int64_t sequences, queries, keys, heads, head_dim;
    float spread;
  };
  for (const Case& c : {Case{2, 13, 13, 3, 16, 2}, Case{1, 300, 300, 2, 64, 2}, Case{1, 70, 513, 1, 40, 8},
                        Case{3, 5, 1, 2, 80, 2}, Case{1, 50, 50, 1, 130, 30}, Case{1, 1, 1, 1, 1, 2}}) {
    const int64_t width = c.heads * c.head_dim;
    const Values q = numbers(c.sequences * c.queries * width, 1, c.spread);
    const Values k = numbers(c.sequences * c.keys * width, 2, c.spread),
                 v = numbers(c.sequences * c.keys * width, 3);
    const Tensor dq = device({static_cast<int64_t>(q.size())}, q), y = empty(dq.shape());
    const Tensor dk = device({static_cast<int64_t>(k.size())}, k),
                 dv = device({static_cast<int64_t>(v.size())}, v);
    Attention a;
    a.outer = c.sequences;
    a.heads = c.heads;
    a.head_dim = c.head_dim;
    a.queries = c.queries;
    a.keys = c.keys;
    a.q = {dq.data(), c.queries * width, 0, width};
    a.k = {dk.data(), c.keys * width, 0, width};
    a.v = {dv.data(), c.keys * width, 0, width};
    a.y = y.data();
    a.y_outer_stride = c.queries * width;
    a.y_token_stride = width;
    for (const bool causal : {false, true}) {
      a.causal = causal;
      ops().run(a);
      EXPECT_LE(relative_error(y.to_host(), plain_attention(q, k, v, c.sequences, c.queries, c.keys, c.heads,
                                                            c.head_dim, causal)),
                1e-5)
          << c.queries << " queries of " << c.head_dim << (causal ? ", causal" : "");
    }
    a.outer = 0;
    ops().run(a);
  }
}

// Tokens lie [outer,token,inner,width], as the frames of a video at every pixel do.
TEST_P(NeuralOpsTest, AttentionOfFrames) {
  const int64_t outer = 2, inner = 6, heads = 2, head_dim = 24, width = heads * head_dim;
  for (const int64_t tokens : {1, 5, 21, 60}) {
    const int64_t count = outer * tokens * inner * width;
    const Values q = numbers(count, 1), k = numbers(count, 2), v = numbers(count, 3);
    const auto by_sequence = [&](const Values& x, bool back) {
      Values y(x.size());
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t t = 0; t < tokens; ++t)
          for (int64_t i = 0; i < inner; ++i)
            for (int64_t c = 0; c < width; ++c) {
              const auto here = static_cast<size_t>(((o * tokens + t) * inner + i) * width + c);
              const auto there = static_cast<size_t>(((o * inner + i) * tokens + t) * width + c);
              y[back ? here : there] = x[back ? there : here];
            }
      return y;
    };
    const Values expected =
        by_sequence(plain_attention(by_sequence(q, false), by_sequence(k, false), by_sequence(v, false),
                                    outer * inner, tokens, tokens, heads, head_dim),
                    true);
    const Tensor dq = device({count}, q), dk = device({count}, k), dv = device({count}, v),
                 y = empty({count});
    Attention a;
    a.outer = outer;
    a.inner = inner;
    a.heads = heads;
    a.head_dim = head_dim;
    a.queries = a.keys = tokens;
    a.q = {dq.data(), tokens * inner * width, width, inner * width};
    a.k = a.v = a.q;
    a.k.data = dk.data();
    a.v.data = dv.data();
    a.y = y.data();
    a.y_outer_stride = a.q.outer_stride;
    a.y_inner_stride = a.q.inner_stride;
    a.y_token_stride = a.q.token_stride;
    ops().run(a);
    EXPECT_LE(relative_error(y.to_host(), expected), 1e-5) << tokens;
  }
}

}  // namespace
}  // namespace eg4d::test
