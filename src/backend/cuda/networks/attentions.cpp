#include "backend/cuda/networks/attentions.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "backend/backend.h"
#include "backend/cuda/networks/network_kernels.h"

namespace eg4d::cuda {
namespace {

enum Id : int64_t { kQ = 1, kK, kV, kY, kScale };
constexpr int64_t kManyTokens = 128;  // fewer are less than a tile of cuDNN's

bool one_half_type(const Attention& a) {
  const DType type = a.q.data.type;
  return type != DType::f32 && a.k.data.type == type && a.v.data.type == type && a.y.type == type;
}

}  // namespace

Attentions::Attentions(cudaStream_t stream, Layers& layers) : stream_(stream), layers_(layers) {
  const char* const given = std::getenv("EG4D_CUDA_ATTENTION");
  const std::string name = given ? given : "";
  if (name == "tiles") way_ = Way::tiles;
  if (name == "plain") way_ = Way::plain;
}

CudnnHandle& Attentions::handle() {
  if (!handle_) handle_.emplace(stream_);
  return *handle_;
}

// Tokens of [sequence,token,head,element] in memory; cuDNN names the heads second.
CudnnObject Attentions::operation(const Shape& s) {
  const auto tokens = [&](int64_t id, int64_t count, int64_t sequence_stride, int64_t token_stride) {
    return describe({.id = id,
                     .extents = {s.sequences, s.heads, count, s.head_dim},
                     .strides = {sequence_stride, s.head_dim, token_stride, 1},
                     .type = cudnn_type(s.type)});
  };
  const CudnnObject scale = describe({.id = kScale,
                                      .extents = {1, 1, 1, 1},
                                      .strides = {1, 1, 1, 1},
                                      .type = CUDNN_DATA_FLOAT,
                                      .kind = CudnnTensor::Kind::number});
  CudnnObject operation(CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, tokens(kQ, s.queries, s.q_sequence, s.q_token))
      .set(CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, tokens(kK, s.keys, s.k_sequence, s.k_token))
      .set(CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, tokens(kV, s.keys, s.v_sequence, s.v_token))
      .set(CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, tokens(kY, s.queries, s.y_sequence, s.y_token))
      .set(CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, scale)
      .finish();
  return operation;
}

// Null where cuDNN does not take it.
const CudnnPlan* Attentions::plan_for(const Attention& a) {
  if (way_ != Way::cudnn || a.causal || a.inner != 1 || !one_half_type(a)) return nullptr;
  if (a.queries < kManyTokens || a.head_dim % 8 != 0 || a.head_dim > 128) return nullptr;
  for (const void* address :
       {a.q.data.data, a.k.data.data, a.v.data.data, static_cast<const void*>(a.y.data)})
    if (alignment_of(address) < 16) return nullptr;
  const Shape shape{a.outer,          a.heads,          a.head_dim,       a.queries,        a.keys,
                    a.q.outer_stride, a.q.token_stride, a.k.outer_stride, a.k.token_stride, a.v.outer_stride,
                    a.v.token_stride, a.y_outer_stride, a.y_token_stride, a.q.data.type};
  const auto [found, is_new] = plans_.try_emplace(shape);
  if (is_new) {
    try {
      found->second = CudnnPlan::find(handle(), {operation(shape)}, 1).front();
    } catch (const CudnnRefusal&) {  // stays without
    } catch (const NotOnThisDevice&) {
    }
  }
  return found->second ? &*found->second : nullptr;
}

std::string Attentions::engine_of(const Attention& a) {
  if (const CudnnPlan* const plan = plan_for(a)) return plan->engine();
  if (products_take(a)) return "products";
  return way_ != Way::plain && attention_tiles_take(a) ? "tiles" : "plain";
}

bool Attentions::products_take(const Attention& a) const {
  const DType type = a.q.data.type;
  return way_ != Way::plain && a.head_dim > 128 && a.queries >= kManyTokens && !a.causal &&
         a.outer * a.inner * a.heads <= 256 && a.k.data.type == type && a.v.data.type == type &&
         (a.y.type == type || a.y.type == DType::f32);
}

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
  if (a.outer * a.inner * a.heads * a.queries * a.head_dim == 0) return;
  if (const CudnnPlan* const plan = plan_for(a)) {
    void* const workspace = pieces.take(plan->workspace_bytes());
    if (pieces.counting()) return;
    const float scale = 1 / std::sqrt(static_cast<float>(a.head_dim));
    plan->run(
        handle(),
        {{kQ, a.q.data.data}, {kK, a.k.data.data}, {kV, a.v.data.data}, {kY, a.y.data}, {kScale, &scale}},
        workspace);
    return;
  }
  if (products_take(a)) return run_products(a, pieces);
  if (pieces.counting()) return;
  if (way_ != Way::plain && attention_tiles_take(a))
    attention_tiles(a, stream_);
  else
    attention_plain(a, stream_);
}

}  // namespace eg4d::cuda
