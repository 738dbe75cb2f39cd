#pragma once

// Network layers for the diffusion stages (inference). All pointers are device memory unless said otherwise,
// arrays are dense, row-major f32; pictures and videos are channels-last: [N,H,W,C], a video is N =
// batch·frames. An output may be the same memory as an input only where that is said.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "backend/stream.h"

namespace eg4d {

// Arithmetic of matrix products and convolutions: f32, or operands rounded to bfloat16 with f32 accumulation.
enum class Precision : uint8_t { f32, bf16 };

// gelu is the exact one (erf), quick_gelu CLIP's x·sigmoid(1.702·x).
enum class Activation : uint8_t { none, silu, gelu, quick_gelu };

// ---------------------------------------------------------------- weights

// A layer's weights in the layout that the device likes best, made once at load. The backend must outlive it.
class PackedWeight {
 public:
  virtual ~PackedWeight() = default;
  virtual size_t bytes() const = 0;
};

// HOST memory, read before the call returns.
struct LinearWeight {
  int64_t in = 0, out = 0;
  const float* weight = nullptr;  // [out,in]
  const float* bias = nullptr;    // [out] or null
  Precision precision = Precision::f32;
};
struct ConvolutionWeight {
  int64_t in = 0, out = 0;
  int64_t kernel_height = 1, kernel_width = 1;
  const float* weight = nullptr;  // [out,in,kernel_height,kernel_width]
  const float* bias = nullptr;    // [out] or null
  Precision precision = Precision::f32;
};

// ---------------------------------------------------------------- layers

// y = activation(x·Wᵀ + b) + residual
struct Linear {
  int64_t rows = 0;
  const float* x = nullptr;              // [rows,in]
  const PackedWeight* weight = nullptr;  // from pack_linear
  Activation activation = Activation::none;
  const float* residual = nullptr;  // [rows,out] or null; may be y
  float* y = nullptr;               // [rows,out]
};

// y = W ∗ x + b + residual, zero padding. A convolution over the frames of a video [B,T,H,W,C] is one with
// kernel height 3, width 1 over height = T, width = H·W.
struct Convolution {
  int64_t batch = 0, height = 0, width = 0;
  int64_t stride = 1;
  int64_t pad_top = 0, pad_bottom = 0, pad_left = 0, pad_right = 0;
  const float* x = nullptr;              // [batch,height,width,in]
  const PackedWeight* weight = nullptr;  // from pack_convolution
  const float* residual = nullptr;       // like y, or null; may be y
  float* y = nullptr;                    // [batch,out_height,out_width,out]
};
inline int64_t convolution_extent(int64_t in, int64_t kernel, int64_t pad_before, int64_t pad_after,
                                  int64_t stride) {
  return (in + pad_before + pad_after - kernel) / stride + 1;
}

// y = activation(groupnorm(x + add)): mean and variance over the positions and the channels of a group (Wu &
// He 2018).
struct GroupNorm {
  int64_t batch = 0, positions = 0, channels = 0;
  int64_t groups = 32;
  float epsilon = 1e-5f;
  const float* x = nullptr;      // [batch,positions,channels]
  const float* scale = nullptr;  // [channels]
  const float* shift = nullptr;  // [channels]
  // Or null: row p / add_positions is added to position p, counted through the whole batch (a time
  // embedding).
  const float* add = nullptr;  // [batch·positions/add_positions, channels]
  int64_t add_positions = 1;
  Activation activation = Activation::none;
  float* y = nullptr;  // may be x
};

// s = x + add; y = layernorm(s)
struct LayerNorm {
  int64_t rows = 0, width = 0;
  float epsilon = 1e-5f;
  const float* x = nullptr;      // [rows,width]
  const float* scale = nullptr;  // [width]
  const float* shift = nullptr;  // [width]
  // Or null: row (r / rows_per_add) % add_rows is added to row r.
  const float* add = nullptr;  // [add_rows,width]
  int64_t rows_per_add = 1, add_rows = 1;
  float* sum = nullptr;  // s, or null; may be x
  float* y = nullptr;    // may be x unless sum is
};

// y = softmax(q·kᵀ/√head_dim)·v for every (outer, inner, head), without the matrix of scores in memory
// (Dao et al., "FlashAttention", 2022). Heads lie side by side in a token: head h begins h·head_dim floats
// into it.
struct Attention {
  struct Operand {
    const float* data = nullptr;
    int64_t outer_stride = 0, inner_stride = 0, token_stride = 0;  // in floats
  };
  int64_t outer = 1, inner = 1;  // independent sequences: outer × inner
  int64_t heads = 1, head_dim = 64;
  int64_t queries = 0, keys = 0;  // tokens per sequence
  bool causal = false;            // query i sees the keys 0 … i only
  Operand q, k, v;
  float* y = nullptr;  // strides as below; may be q.data with q's strides
  int64_t y_outer_stride = 0, y_inner_stride = 0, y_token_stride = 0;
};

// y[r][c] = x[r][c]·gelu(x[r][width+c])  (Shazeer, "GLU variants improve transformer", 2020)
struct Geglu {
  int64_t rows = 0, width = 0;
  const float* x = nullptr;  // [rows,2·width]
  float* y = nullptr;        // [rows,width]
};

// y = a·a_scale + b·b_scale; b may be null. y may be a or b.
struct ScaledSum {
  int64_t count = 0;
  const float* a = nullptr;
  const float* b = nullptr;
  float a_scale = 1, b_scale = 0;
  float* y = nullptr;
};

// y = activation(x); y may be x.
struct Activate {
  int64_t count = 0;
  Activation activation = Activation::none;
  const float* x = nullptr;
  float* y = nullptr;
};

// Nearest-neighbour enlargement by 2: [batch,height,width,channels] → [batch,2·height,2·width,channels].
struct Upsample {
  int64_t batch = 0, height = 0, width = 0, channels = 0;
  const float* x = nullptr;
  float* y = nullptr;
};

// Cuts pictures into non-overlapping squares, one row each (rest at the right and bottom is dropped):
// [batch,height,width,channels] → [batch·(height/patch)·(width/patch), patch·patch·channels].
struct Patches {
  int64_t batch = 0, height = 0, width = 0, channels = 0, patch = 1;
  const float* x = nullptr;
  float* y = nullptr;
};

// to[r·to_pitch + c] = from[r·from_pitch + c] for c < width: concatenation and slices of channels; from_pitch
// 0 repeats.
struct CopyRows {
  int64_t rows = 0, width = 0;
  const float* from = nullptr;
  int64_t from_pitch = 0;
  float* to = nullptr;
  int64_t to_pitch = 0;
};

class NeuralOps {
 public:
  virtual ~NeuralOps() = default;

  virtual std::shared_ptr<const PackedWeight> pack_linear(const LinearWeight&) = 0;
  virtual std::shared_ptr<const PackedWeight> pack_convolution(const ConvolutionWeight&) = 0;

  virtual void linear(const Linear&, Stream = {}) = 0;
  virtual void convolution(const Convolution&, Stream = {}) = 0;
  virtual void group_norm(const GroupNorm&, Stream = {}) = 0;
  virtual void layer_norm(const LayerNorm&, Stream = {}) = 0;
  virtual void attention(const Attention&, Stream = {}) = 0;
  virtual void geglu(const Geglu&, Stream = {}) = 0;
  virtual void scaled_sum(const ScaledSum&, Stream = {}) = 0;
  virtual void activate(const Activate&, Stream = {}) = 0;
  virtual void upsample(const Upsample&, Stream = {}) = 0;
  virtual void patches(const Patches&, Stream = {}) = 0;
  virtual void copy_rows(const CopyRows&, Stream = {}) = 0;
};

}  // namespace eg4d
