#include "backend/cuda/networks/attention.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>

#include "backend/cuda/check.h"
#include "backend/cuda/networks/attention_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int64_t kFewBlocks = 100;  // of 64 queries: mma's smaller ones are done sooner

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), "asking which it is");
  check(cudaDeviceGetAttribute(&value, which, device), "asking what it is");
  return value;
}

// Whether all operands are of one 16-bit type and can be read and written 16 bytes at a time, and the
// kernels' 32-bit numbers suffice.
bool is_aligned(const Attention& a) {
  const DType type = a.q.data.type;
  if ((type != DType::f16 && type != DType::bf16) || a.head_dim % 8 != 0) return false;
  const auto fits = [type](const void* data, DType of, std::initializer_list<int64_t> strides) {
    return of == type && reinterpret_cast<uintptr_t>(data) % 16 == 0 &&
           std::ranges::all_of(strides, [](int64_t stride) { return stride % 8 == 0; });
  };
  for (const Attention::Operand* x : {&a.q, &a.k, &a.v})
    if (!fits(x->data.data, x->data.type, {x->outer_stride, x->inner_stride, x->token_stride})) return false;
  if (!fits(a.y.data, a.y.type, {a.y_outer_stride, a.y_inner_stride, a.y_token_stride})) return false;
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  return a.keys < kMost && a.queries < kMost && a.outer * a.inner * a.heads * (a.queries / 64 + 1) < kMost;
}

bool wgmma_takes(const Attention& a) {
  if (a.causal || a.head_dim > kMmaWidth || attribute(cudaDevAttrComputeCapabilityMajor) != 9) return false;
  for (const Attention::Operand* x : {&a.q, &a.k, &a.v})
    if (x->outer_stride < 0 || x->inner_stride < 0 || x->token_stride <= 0) return false;
  return true;
}

enum class Kernel : uint8_t { general, frames, wgmma_large, wgmma_small, mma, wide };

Kernel choose(const Attention& a) {
  if (!is_aligned(a)) return Kernel::general;
  if (a.head_dim == kFramesWidth && std::max(a.queries, a.keys) <= kFrames) return Kernel::frames;
  if (wgmma_takes(a)) {
    const int64_t heads = a.outer * a.inner * a.heads, large = (a.queries + 191) / 192,
                  small = (a.queries + 63) / 64;
    const bool fills = large * heads >= attribute(cudaDevAttrMultiProcessorCount);
    const bool wastes = 3 * large > small + small / 3;  // rows of which there are no queries
    if (fills && (!wastes || a.head_dim > kWgmmaWidth)) return Kernel::wgmma_large;
    if (a.head_dim <= kWgmmaWidth && small * heads >= kFewBlocks) return Kernel::wgmma_small;
  }
  if (a.head_dim <= kMmaWidth) return Kernel::mma;
  const bool fits =
      a.head_dim <= kWideWidth && attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) >= kWideSharedBytes;
  return fits ? Kernel::wide : Kernel::general;
}

int64_t elements(const Attention& a) {
  return a.outer * a.inner * a.heads * a.queries * a.head_dim;
}

// Several of the general kernel's blocks need the same queries, and the first one done would overwrite them.
bool spoils_queries(const Attention& a, Kernel kernel) {
  return kernel == Kernel::general && a.y.data == a.q.data.data && a.head_dim > kGeneralColumns;
}

}  // namespace

float attention_scale(const Attention& a) {
  return static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(a.head_dim)));
}

size_t attention_workspace_bytes(const Attention& a) {
  return spoils_queries(a, choose(a)) ? size_of(a.y.type) * static_cast<size_t>(elements(a)) : 0;
}

void attention(const Attention& a, void* workspace, cudaStream_t stream) {
  if (elements(a) == 0) return;
  const Kernel kernel = choose(a);
  switch (kernel) {
    case Kernel::frames:
      return attention_frames(a, stream);
    case Kernel::wgmma_large:
      return attention_wgmma(a, WgmmaBlocks::large, stream);
    case Kernel::wgmma_small:
      return attention_wgmma(a, WgmmaBlocks::small, stream);
    case Kernel::mma:
      return attention_mma(a, stream);
    case Kernel::wide:
      return attention_wide(a, stream);
    case Kernel::general:
      break;
  }
  if (!spoils_queries(a, kernel)) return attention_general(a, stream);
  Attention dense = a;
  dense.y.data = workspace;
  dense.y_token_stride = a.heads * a.head_dim;
  dense.y_inner_stride = a.queries * dense.y_token_stride;
  dense.y_outer_stride = a.inner * dense.y_inner_stride;
  attention_general(dense, stream);
  move_result(dense, a, stream);
}

}  // namespace eg4d::cuda
