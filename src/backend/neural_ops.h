#pragma once

// Network layers: those of the diffusion stages are for inference, some others have a backward pass. All
// arrays and pointers are device memory unless said otherwise, dense and row-major; pictures and videos are
// channels-last: [N,H,W,C], a video is N = batch·frames. Activations are arrays of any floating-point type
// (backend/array.h), float pointers are f32. An output may be the same memory as an input only where that is
// said.

#include <cstddef>
#include <cstdint>

#include "backend/array.h"

namespace eg4d {

// What a network computes in. Norms' scale and shift, statistics, softmax and accumulation are f32 whatever
// it is.
struct NetworkType {
  // What operands of matrix products and convolutions are rounded to first: nothing, the 10 bits of TF32, the
  // 16 bits that the weights are stored in, or 8 bits (e4m3: 3 of mantissa) with a scale for every row of x
  // and of the weight, which is for feed-forward networks alone (Backend::has_fp8).
  enum class Products : uint8_t { f32, tf32, half, fp8 };
  DType activations = DType::f32;  // of the tensors between layers
  DType weights = DType::f32;      // as they are kept for products and convolutions
  Products products = Products::f32;
  bool fp8_feed_forward = false;  // feed-forward networks' products are of fp8 instead
  bool operator==(const NetworkType&) const = default;
};

// gelu is the exact one (erf), quick_gelu CLIP's x·sigmoid(1.702·x).
enum class Activation : uint8_t { none, silu, gelu, quick_gelu, relu };

// ---------------------------------------------------------------- weights

// A layer's weights in the layout that the device likes best, made once at load. The backend must outlive it.
class PackedWeight {
 public:
  struct Extents {
    int64_t in = 0, out = 0;
    int64_t kernel_height = 1, kernel_width = 1;  // of a convolution
  };
  explicit PackedWeight(const Extents& e) : extents(e) {}
  virtual ~PackedWeight() = default;
  const Extents extents;
  virtual size_t bytes() const = 0;
};

// ---------------------------------------------------------------- layers

// y = activation(x·Wᵀ + b) + residual
struct Linear {
  int64_t rows = 0;
  ConstArray x = {};                     // [rows,in]
  const PackedWeight* weight = nullptr;  // from pack_linear
  Activation activation = Activation::none;
  ConstArray residual = {};  // [rows,out] or null; may be y
  Array y = {};              // [rows,out]
};

// d_x += d_y·W
struct LinearBackward {
  Linear forward;  // without residual and activation, in f32; x and y are not read
  const float* d_y = nullptr;
  float* d_x = nullptr;
};

// y = activation(W ∗ x + b) + residual, zero padding. A convolution over the frames of a video [B,T,H,W,C] is
// one with kernel height 3, width 1 over height = T, width = H·W.
struct Convolution {
  int64_t batch = 0, height = 0, width = 0;
  int64_t stride = 1;
  int64_t dilation = 1;  // pixels from one tap of the kernel to the next
  int64_t pad_top = 0, pad_bottom = 0, pad_left = 0, pad_right = 0;
  ConstArray x = {};                     // [batch,height,width,in]
  const PackedWeight* weight = nullptr;  // from pack_convolution
  Activation activation = Activation::none;
  ConstArray residual = {};  // like y, or null; may be y
  Array y = {};              // [batch,out_height,out_width,out]
};
// Nothing comes out (0) where the kernel does not fit in.
inline int64_t convolution_extent(int64_t in, int64_t kernel, int64_t pad_before, int64_t pad_after,
                                  int64_t stride, int64_t dilation = 1) {
  const int64_t room = in + pad_before + pad_after - (dilation * (kernel - 1) + 1);
  return room < 0 ? 0 : room / stride + 1;
}

// d_x += Wᵀ ∗ d_y, where with relu only the d_y count whose y is above zero.
struct ConvolutionBackward {
  Convolution forward;  // without residual, in f32, activation none or relu; x is not read, y only for relu
  const float* d_y = nullptr;
  float* d_x = nullptr;
};

// y = activation(groupnorm(x + add)): mean and variance over the positions and the channels of a group (Wu &
// He 2018).
struct GroupNorm {
  int64_t batch = 0, positions = 0, channels = 0;
  int64_t groups = 32;  // must divide the channels
  float epsilon = 1e-5f;
  ConstArray x = {};             // [batch,positions,channels]
  const float* scale = nullptr;  // [channels]
  const float* shift = nullptr;  // [channels]
  // Or null: row p / add_positions is added to position p, counted through the whole batch (a time
  // embedding).
  ConstArray add = {};  // [batch·positions/add_positions, channels]
  int64_t add_positions = 1;
  Activation activation = Activation::none;
  Array y = {};  // may be x
};

// d_x += the gradient with respect to x; mean and variance are computed again.
struct GroupNormBackward {
  GroupNorm forward;  // without add, activation none or silu; y is not read
  const float* d_y = nullptr;
  float* d_x = nullptr;
};

// s = x + add; y = layernorm(s)
struct LayerNorm {
  int64_t rows = 0, width = 0;
  float epsilon = 1e-5f;
  ConstArray x = {};             // [rows,width]
  const float* scale = nullptr;  // [width]
  const float* shift = nullptr;  // [width]
  // Or null: row (r / rows_per_add) % add_rows is added to row r.
  ConstArray add = {};  // [add_rows,width]
  int64_t rows_per_add = 1, add_rows = 1;
  Array sum = {};  // s, or null; may be x
  Array y = {};    // may be x unless sum is
};

// y = softmax(q·kᵀ/√head_dim)·v for every (outer, inner, head), without the matrix of scores in memory
// (Dao et al., "FlashAttention", 2022). Heads lie side by side in a token: head h begins h·head_dim elements
// into it. There is at least one key.
struct Attention {
  struct Operand {
    ConstArray data = {};
    int64_t outer_stride = 0, inner_stride = 0, token_stride = 0;  // in elements
  };
  int64_t outer = 1, inner = 1;  // independent sequences: outer × inner
  int64_t heads = 1, head_dim = 64;
  int64_t queries = 0, keys = 0;  // tokens per sequence
  bool causal = false;            // query i sees the keys 0 … i only
  Operand q, k, v;
  Array y = {};  // strides as below
  int64_t y_outer_stride = 0, y_inner_stride = 0, y_token_stride = 0;
};

// d_q, d_k, d_v += the gradients with respect to q, k, v. Scores are computed again for some queries at a
// time, so that no more of their matrix is in memory.
struct AttentionBackward {
  Attention forward;                                     // y is not read
  const float* d_y = nullptr;                            // strides as y
  float *d_q = nullptr, *d_k = nullptr, *d_v = nullptr;  // strides as q, k, v
};

// y[r][c] = x[r][c]·gelu(x[r][width+c])  (Shazeer, "GLU variants improve transformer", 2020)
struct Geglu {
  int64_t rows = 0, width = 0;
  ConstArray x = {};  // [rows,2·width]
  Array y = {};       // [rows,width]
};

// y = narrow(geglu(widen(x))) + residual. What lies between is as wide as twice `inner`; a device may go
// through the rows in pieces, so that it never becomes large.
struct FeedForward {
  int64_t rows = 0, inner = 0;
  ConstArray x = {};                     // [rows,in]
  const PackedWeight* widen = nullptr;   // in → 2·inner
  const PackedWeight* narrow = nullptr;  // inner → out
  ConstArray residual = {};              // [rows,out] or null; may be y
  Array y = {};                          // [rows,out]
};

// m = strength·reference + (1 - strength)·x; y = layernorm(m): where attention takes its keys and values from
// when the videos of other moments lend it theirs (EG4D, ICLR 2025).
struct MixedNorm {
  LayerNorm norm;        // without add and sum
  Array reference = {};  // [rows,width]
  float strength = 0.5f;
  bool keep = false;  // reference = m
};

// y = a·a_scale + b·b_scale; b may be null. y may be a or b.
struct ScaledSum {
  int64_t count = 0;
  ConstArray a = {};
  ConstArray b = {};
  float a_scale = 1, b_scale = 0;
  Array y = {};
};

// y = x, rounded to y's type.
struct Convert {
  int64_t count = 0;
  ConstArray x = {};
  Array y = {};
};

// y = activation(x); y may be x.
struct Activate {
  int64_t count = 0;
  Activation activation = Activation::none;
  ConstArray x = {};
  Array y = {};
};

// Nearest-neighbour enlargement by 2: [batch,height,width,channels] → [batch,2·height,2·width,channels].
struct Upsample {
  int64_t batch = 0, height = 0, width = 0, channels = 0;
  ConstArray x = {};
  Array y = {};
};

// Bilinear resampling without antialiasing; pixel centres at half pixels (PyTorch's align_corners = false),
// or with align_corners so that the corners' centres fall on each other.
struct ResizeFeatures {
  int64_t batch = 0, height = 0, width = 0, channels = 0;
  int64_t out_height = 0, out_width = 0;
  ConstArray x = {};  // [batch,height,width,channels]
  Array y = {};       // [batch,out_height,out_width,channels]
  bool align_corners = false;
};

// The largest value of every window, channel by channel; NaN wins. Windows are cut off at the right and
// bottom.
struct MaxPool {
  int64_t batch = 0, height = 0, width = 0, channels = 0;
  int64_t kernel = 2, stride = 2;
  int64_t out_height = 0, out_width = 0;  // from pool_extent
  ConstArray x = {};                      // [batch,height,width,channels]
  Array y = {};                           // [batch,out_height,out_width,channels]
};
// `whole`: only windows that lie inside; otherwise every pixel is in some window (PyTorch's ceil_mode). The
// stride is at most the kernel.
inline int64_t pool_extent(int64_t in, int64_t kernel, int64_t stride, bool whole) {
  if (in < kernel) return whole || in < 1 ? 0 : 1;
  return (in - kernel + (whole ? 0 : stride - 1)) / stride + 1;
}
// d_x += d_y at the first largest value of each window.
struct MaxPoolBackward {
  MaxPool forward;  // y is not read
  const float* d_y = nullptr;
  float* d_x = nullptr;
};

// y[r][c] = x[r][c]·scale[c] + shift[c]
struct ScaleChannels {
  int64_t rows = 0, channels = 0;
  ConstArray x = {};
  const float* scale = nullptr;  // [channels]
  const float* shift = nullptr;  // [channels]
  Array y = {};                  // may be x
};
// d_x += d_y·scale
struct ScaleChannelsBackward {
  ScaleChannels forward;  // only rows, channels and scale are read
  const float* d_y = nullptr;
  float* d_x = nullptr;
};

// One layer of LPIPS (Zhang et al. 2018, equation 1). With â = a / (‖a‖ + epsilon) over the channels of each
// position: values[n] += mean over positions of Σ_c weight[c]·(â[c] - b̂[c])².
struct FeatureDistance {
  int64_t batch = 0, positions = 0, channels = 0;
  float epsilon = 1e-10f;
  const float* a = nullptr;       // [batch,positions,channels]
  const float* b = nullptr;       // likewise
  const float* weight = nullptr;  // [channels]
  double* values = nullptr;       // [batch], ADDED to
};
// d_a += d_value · the derivative of values[n] with respect to a; zero where a position's features are all
// zero.
struct FeatureDistanceBackward {
  FeatureDistance forward;  // values is not read
  float d_value = 1;
  float* d_a = nullptr;
};

// Cuts pictures into non-overlapping squares, one row each (rest at the right and bottom is dropped):
// [batch,height,width,channels] → [batch·(height/patch)·(width/patch), patch·patch·channels].
struct Patches {
  int64_t batch = 0, height = 0, width = 0, channels = 0, patch = 1;
  ConstArray x = {};
  Array y = {};
};

// to[r·to_pitch + c] = from[r·from_pitch + c] for c < width: concatenation and slices of channels; from_pitch
// 0 repeats.
struct CopyRows {
  int64_t rows = 0, width = 0;
  ConstArray from = {};
  int64_t from_pitch = 0;
  Array to = {};
  int64_t to_pitch = 0;
};

}  // namespace eg4d
