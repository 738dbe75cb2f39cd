#include "backend/cuda/networks/attentions.h"

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

Attentions::Attentions(cudaStream_t stream) : stream_(stream) {
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
  return way_ != Way::plain && attention_tiles_take(a) ? "tiles" : "plain";
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
  if (pieces.counting()) return;
  if (way_ != Way::plain && attention_tiles_take(a))
    attention_tiles(a, stream_);
  else
    attention_plain(a, stream_);
}

}  // namespace eg4d::cuda
