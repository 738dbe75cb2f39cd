// The GPU's attention against its definition in double precision, on operands rounded alike. Of long
// sequences only some queries are looked at.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "backend/cuda/networks/attention.h"
#include "core/half.h"
#include "cuda/support/device.h"
#include "random/random.h"

namespace eg4d::test {
namespace {

// How the operands lie: pixels of a picture, with q, k and v by themselves; all three side by side in a
// token; frames of a video, where a token is a picture further; keys and values that all sequences share.
enum class Layout { apart, together, frames, shared };

struct Case {
  Layout layout = Layout::apart;
  int64_t outer = 1, inner = 1, heads = 1, head_dim = 64, queries = 1, keys = 1;
  bool causal = false, in_place = false;
  float spread = 2;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.outer << "×" << c.inner << " sequences, " << c.heads << " heads of " << c.head_dim << ", "
       << c.queries << " queries, " << c.keys << " keys, layout " << static_cast<int>(c.layout)
       << (c.causal ? ", causal" : "") << (c.in_place ? ", in place" : "");
}

// Numbers in the GPU's memory in some type, and what they are there.
class Numbers {
 public:
  Numbers(DType type, std::vector<float> values) : type_(type), values_(std::move(values)) {
    if (type == DType::f32) {
      floats_ = DeviceBuffer<float>(values_);
      return;
    }
    std::vector<uint16_t> halves;
    for (float& value : values_) {
      const bool f16 = type == DType::f16;
      halves.push_back(f16 ? float_to_half(value) : float_to_bfloat16(value));
      value = f16 ? half_to_float(halves.back()) : bfloat16_to_float(halves.back());
    }
    halves_ = DeviceBuffer<uint16_t>(halves);
  }
  Array array() const {
    return {type_ == DType::f32 ? static_cast<void*>(floats_.data()) : halves_.data(), type_};
  }
  float operator[](int64_t i) const { return values_[static_cast<size_t>(i)]; }
  std::vector<float> to_host() const {
    if (type_ == DType::f32) return floats_.to_host();
    std::vector<float> values;
    for (const uint16_t half : halves_.to_host())
      values.push_back(type_ == DType::f16 ? half_to_float(half) : bfloat16_to_float(half));
    return values;
  }

 private:
  DType type_;
  std::vector<float> values_;
  DeviceBuffer<float> floats_;
  DeviceBuffer<uint16_t> halves_;
};

// Where an operand lies within its buffer.
struct Place {
  int64_t begin = 0, outer = 0, inner = 0, token = 0;
  int64_t operator()(int64_t o, int64_t i, int64_t t) const {
    return begin + o * outer + i * inner + t * token;
  }
};

struct Places {
  explicit Places(const Case& c) {
    const int64_t width = c.heads * c.head_dim;
    const auto rows = [&](int64_t tokens) {
      return Place{0, c.inner * tokens * width, tokens * width, width};
    };
    q = y = rows(c.queries);
    k = v = rows(c.keys);
    if (c.layout == Layout::together) {
      for (Place* x : {&q, &k, &v})
        *x = {0, 3 * c.inner * c.queries * width, 3 * c.queries * width, 3 * width};
      k.begin = width;
      v.begin = 2 * width;
    } else if (c.layout == Layout::frames) {
      q = y = {0, c.queries * c.inner * width, width, c.inner * width};
      k = {0, 2 * c.keys * c.inner * width, 2 * width, 2 * c.inner * width};
      v = k;
      v.begin = width;
    } else if (c.layout == Layout::shared) {
      k = v = {0, 0, 0, width};
    }
  }
  Place q, k, v, y;
};

int64_t length(const Place& p, const Case& c, int64_t tokens) {
  return p(c.outer - 1, c.inner - 1, tokens - 1) + c.heads * c.head_dim;
}

class Problem {
 public:
  Problem(const Case& c, DType type, uint64_t seed, DType type_of_y)
      : c_(c),
        places_(c),
        q_(type, draw(seed, length(places_.q, c, c.queries))),
        k_(type, draw(seed + 1, length(places_.k, c, c.keys))),
        v_(type, draw(seed + 2, length(places_.v, c, c.keys))),
        y_(type_of_y, std::vector<float>(static_cast<size_t>(length(places_.y, c, c.queries)), 7.f)) {}

  Attention attention() const {
    Attention a;
    a.outer = c_.outer;
    a.inner = c_.inner;
    a.heads = c_.heads;
    a.head_dim = c_.head_dim;
    a.queries = c_.queries;
    a.keys = c_.keys;
    a.causal = c_.causal;
    a.q = operand(q_, places_.q);
    a.k = operand(k_, places_.k);
    a.v = operand(v_, places_.v);
    a.y = c_.in_place ? q_.array() : y_.array();
    a.y_outer_stride = places_.y.outer;
    a.y_inner_stride = places_.y.inner;
    a.y_token_stride = places_.y.token;
    return a;
  }
  // ‖y - definition‖ / ‖definition‖ over some queries of every head.
  double error(const std::vector<float>& y) const {
    const int64_t most_queries = std::clamp<int64_t>(400 / (c_.outer * c_.inner * c_.heads), 3, 40);
    double difference = 0, size = 0;
    Philox random(c_.queries, c_.keys);
    for (int64_t o = 0; o < c_.outer; ++o)
      for (int64_t i = 0; i < c_.inner; ++i)
        for (int64_t h = 0; h < c_.heads; ++h)
          for (int64_t n = 0; n < std::min(most_queries, c_.queries); ++n) {
            int64_t t = c_.queries - 1 - n;  // the last ones are where tiles end
            if (c_.queries > most_queries && n >= most_queries / 2)
              t = random.below(static_cast<uint32_t>(c_.queries));
            const std::vector<double> row = defined(o, i, h, t);
            for (int64_t d = 0; d < c_.head_dim; ++d) {
              const double wanted = row[static_cast<size_t>(d)],
                           got = y[static_cast<size_t>(places_.y(o, i, t) + h * c_.head_dim + d)];
              difference += (got - wanted) * (got - wanted);
              size += wanted * wanted;
            }
          }
    return std::sqrt(difference / size);
  }
  std::vector<float> result() const { return c_.in_place ? q_.to_host() : y_.to_host(); }

 private:
  std::vector<float> draw(uint64_t seed, int64_t count) const {
    Philox random(seed);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = c_.spread * (random.uniform() - 0.5f);
    return values;
  }
  static Attention::Operand operand(const Numbers& x, const Place& p) {
    return {ConstArray(x.array()).at(p.begin), p.outer, p.inner, p.token};
  }
  std::vector<double> defined(int64_t o, int64_t i, int64_t h, int64_t t) const {
    const int64_t visible = c_.causal ? std::min(t + 1, c_.keys) : c_.keys, head = h * c_.head_dim;
    std::vector<double> weights(static_cast<size_t>(visible)), row(static_cast<size_t>(c_.head_dim));
    const double scale = 1 / std::sqrt(static_cast<double>(c_.head_dim));
    const int64_t q = places_.q(o, i, t) + head;
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t j = 0; j < visible; ++j) {
      double& score = weights[static_cast<size_t>(j)];
      const int64_t k = places_.k(o, i, j) + head;
      for (int64_t d = 0; d < c_.head_dim; ++d)
        score += static_cast<double>(q_[q + d]) * static_cast<double>(k_[k + d]);
      top = std::max(top, score *= scale);
    }
    for (double& weight : weights) sum += weight = std::exp(weight - top);
    for (int64_t j = 0; j < visible; ++j)
      for (int64_t d = 0; d < c_.head_dim; ++d)
        row[static_cast<size_t>(d)] +=
            weights[static_cast<size_t>(j)] / sum * v_[places_.v(o, i, j) + head + d];
    return row;
  }

  Case c_;
  Places places_;
  Numbers q_, k_, v_, y_;
};

void run(const Attention& a, cudaStream_t stream = nullptr) {
  const DeviceBuffer<uint8_t> workspace(static_cast<int64_t>(cuda::attention_workspace_bytes(a)));
  cuda::attention(a, workspace.data(), stream);
  cuda::check(cudaStreamSynchronize(stream), "computing attention");
}

// f32: the CPU's. Halves: weights and result are rounded, each by 2⁻⁸ (bf16) or 2⁻¹¹ (f16) at most and by 0.4
// of that in the mean.
double bound(DType type) {
  return type == DType::f32 ? 1e-5 : type == DType::f16 ? 1e-3 : 3e-3;
}

void expect_defined(const Case& c, DType type, std::optional<DType> type_of_y = {}) {
  static uint64_t seed = 0;
  SCOPED_TRACE(testing::Message() << testing::PrintToString(c) << ", " << name_of(type));
  const Problem problem(c, type, seed += 3, type_of_y.value_or(type));
  run(problem.attention());
  EXPECT_LE(problem.error(problem.result()), bound(type));
}

constexpr DType kTypes[] = {DType::f32, DType::f16, DType::bf16};

TEST(CudaAttention, AnyNumberOfTokens) {
  EG4D_NEEDS_GPU();
  for (const DType type : kTypes)
    for (const int64_t head_dim : {1, 24, 40, 64, 80, 130, 512, 520})
      for (const auto& [queries, keys] : {std::pair<int64_t, int64_t>{1, 1}, {31, 31}, {77, 77}, {5, 200}}) {
        expect_defined({.outer = 2, .heads = 3, .head_dim = head_dim, .queries = queries, .keys = keys},
                       type);
        expect_defined({.layout = Layout::shared,
                        .outer = 2,
                        .inner = 2,
                        .head_dim = head_dim,
                        .queries = queries,
                        .keys = keys,
                        .causal = true},
                       type);
      }
}

// Small enough for sanitizers, which take a hundred times as long.
TEST(CudaAttention, AFewForEachKernel) {
  EG4D_NEEDS_GPU();
  expect_defined({.heads = 2, .head_dim = 24, .queries = 33, .keys = 40}, DType::f32);           // general
  expect_defined({.layout = Layout::frames, .inner = 5, .heads = 2, .queries = 21, .keys = 21},  // frames
                 DType::f16);
  expect_defined({.heads = 2, .head_dim = 40, .queries = 70, .keys = 90}, DType::bf16);               // mma
  expect_defined({.head_dim = 512, .queries = 40, .keys = 70}, DType::f16);                           // wide
  expect_defined({.outer = 10, .heads = 10, .head_dim = 64, .queries = 40, .keys = 70}, DType::f16);  // wgmma
  expect_defined({.outer = 12, .heads = 12, .head_dim = 40, .queries = 192, .keys = 130},
                 DType::f16);  // large
}

TEST(CudaAttention, ManyTokens) {
  EG4D_NEEDS_GPU();
  for (const DType type : kTypes) {
    for (const int64_t head_dim : {40, 64, 128})
      for (const auto& [queries, keys] :
           {std::pair<int64_t, int64_t>{1296, 77}, {324, 324}, {65, 3001}, {97 * 61, 97 * 61}})
        expect_defined({.heads = 2, .head_dim = head_dim, .queries = queries, .keys = keys}, type);
    for (const int64_t tokens : {900, 97 * 61})
      expect_defined({.layout = Layout::together, .head_dim = 512, .queries = tokens, .keys = tokens}, type);
  }
}

// As many as make the kernels for many blocks be taken.
TEST(CudaAttention, ManySequences) {
  EG4D_NEEDS_GPU();
  for (const DType type : {DType::f16, DType::bf16})
    for (const int64_t head_dim : {40, 64, 80})
      for (const auto& [queries, keys] :
           {std::pair<int64_t, int64_t>{324, 324}, {81, 81}, {193, 77}, {385, 128}, {64, 129}, {192, 257}})
        for (const Layout layout : {Layout::apart, Layout::shared, Layout::frames})
          expect_defined({.layout = layout,
                          .outer = 3,
                          .inner = 5,
                          .heads = 10,
                          .head_dim = head_dim,
                          .queries = queries,
                          .keys = keys,
                          .in_place = layout == Layout::apart},
                         type);
}

TEST(CudaAttention, Frames) {
  EG4D_NEEDS_GPU();
  for (const DType type : kTypes)
    for (const int64_t tokens : {1, 7, 8, 16, 17, 21, 24, 25, 31, 32, 33})
      for (const bool causal : {false, true})
        expect_defined({.layout = Layout::frames,
                        .outer = 2,
                        .inner = 37,
                        .heads = 5,
                        .head_dim = 64,
                        .queries = tokens,
                        .keys = tokens,
                        .causal = causal,
                        .in_place = tokens % 2 == 0},
                       type);
  expect_defined({.layout = Layout::frames, .inner = 9, .heads = 3, .queries = 25, .keys = 14}, DType::f16);
  expect_defined({.layout = Layout::frames, .inner = 9, .heads = 3, .queries = 3, .keys = 32}, DType::f16);
}

// Large scores: weights that are almost all nothing; each type's own range.
TEST(CudaAttention, SharpWeights) {
  EG4D_NEEDS_GPU();
  for (const DType type : {DType::f16, DType::bf16})
    for (const auto& [queries, keys] : {std::pair<int64_t, int64_t>{21, 21}, {100, 700}, {700, 1000}})
      for (const int64_t head_dim : {64, 128, 256})
        expect_defined(
            {.outer = 10, .heads = 4, .head_dim = head_dim, .queries = queries, .keys = keys, .spread = 16},
            type);
}

TEST(CudaAttention, TypesAndAlignmentMayDiffer) {
  EG4D_NEEDS_GPU();
  expect_defined({.heads = 2, .head_dim = 36, .queries = 100, .keys = 90}, DType::f16);
  expect_defined({.heads = 2, .head_dim = 64, .queries = 100, .keys = 90}, DType::f16, DType::f32);
  expect_defined({.heads = 2, .head_dim = 130, .queries = 100, .keys = 90, .in_place = true}, DType::f32);
}

// What is not a number stays so: of a query in its own row, of a key in all of its head's.
TEST(CudaAttention, NotANumber) {
  EG4D_NEEDS_GPU();
  struct Kind {
    int64_t outer, head_dim, tokens;
  };
  for (const DType type : kTypes)
    for (const Kind& kind : {Kind{2, 64, 21}, Kind{2, 64, 100}, Kind{70, 64, 333}, Kind{2, 512, 70}}) {
      SCOPED_TRACE(testing::Message() << kind.tokens << " tokens, " << name_of(type));
      const int64_t width = 2 * kind.head_dim, count = kind.outer * kind.tokens * width;
      const std::vector<float> halves(static_cast<size_t>(count), 0.5f);
      std::vector<float> q = halves, k = halves;
      q[static_cast<size_t>((kind.tokens - 1) * width)] = NAN;                   // first head
      k[static_cast<size_t>((kind.tokens + 19) * width + kind.head_dim)] = NAN;  // second sequence and head
      const Numbers of_q(type, q), of_k(type, k), of_v(type, halves), y(type, q);
      Attention a;
      a.outer = kind.outer;
      a.heads = 2;
      a.head_dim = kind.head_dim;
      a.queries = a.keys = kind.tokens;
      a.q = {of_q.array(), kind.tokens * width, 0, width};
      a.k = {of_k.array(), kind.tokens * width, 0, width};
      a.v = {of_v.array(), kind.tokens * width, 0, width};
      a.y = y.array();
      a.y_outer_stride = a.q.outer_stride;
      a.y_token_stride = width;
      run(a);
      const std::vector<float> result = y.to_host();
      int64_t wrong = 0;
      for (int64_t i = 0; i < count; ++i) {
        const int64_t token = i / width, head = i % width / kind.head_dim;
        const bool lost = (token == kind.tokens - 1 && head == 0) || (token / kind.tokens == 1 && head == 1);
        const float value = result[static_cast<size_t>(i)];
        wrong += lost ? !std::isnan(value) : !(std::abs(value - 0.5f) < 1e-3f);
      }
      EXPECT_EQ(wrong, 0);
    }
}

// The same bits again, also from a graph.
TEST(CudaAttention, GraphsComputeTheSame) {
  EG4D_NEEDS_GPU();
  for (const Case& c :
       {Case{.outer = 50, .heads = 5, .queries = 300, .keys = 300},
        Case{.layout = Layout::frames, .inner = 50, .heads = 5, .queries = 21, .keys = 21},
        Case{.heads = 5, .queries = 300, .keys = 77}, Case{.head_dim = 512, .queries = 100, .keys = 100}}) {
    SCOPED_TRACE(testing::PrintToString(c));
    const Problem problem(c, DType::f16, 1, DType::f16), again(c, DType::f16, 1, DType::f16);
    run(problem.attention());
    cudaStream_t stream = nullptr;
    cuda::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    cuda::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording");
    cuda::attention(again.attention(), nullptr, stream);
    cuda::check(cudaStreamEndCapture(stream, &graph), "recording");
    cuda::check(cudaGraphInstantiate(&executable, graph, 0), "recording");
    for (int i = 0; i < 2; ++i) cuda::check(cudaGraphLaunch(executable, stream), "computing attention");
    cuda::check(cudaStreamSynchronize(stream), "computing attention");
    EXPECT_EQ(again.result(), problem.result());
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
  }
}

TEST(CudaAttention, NothingToDo) {
  EG4D_NEEDS_GPU();
  Attention a;
  for (int64_t* extent : {&a.outer, &a.inner, &a.heads, &a.queries}) {
    a.outer = a.inner = a.heads = a.queries = a.keys = 3;
    *extent = 0;
    run(a);
  }
}

}  // namespace
}  // namespace eg4d::test
