#pragma once

// Layers as the networks use them. Activations are [N,H,W,C] or [rows,C]; where a layer's result is a new
// tensor, it lies in the session's arena.

#include <memory>

#include "nn/session.h"

namespace eg4d {

struct LinearLayer {
  int64_t in = 0, out = 0;
  std::shared_ptr<const PackedWeight> weight;

  // x: […,in] → […,out]
  Tensor operator()(Session& session, const Tensor& x, Activation activation = Activation::none) const;
  // y = layer(x)
  void into(Session& session, const Tensor& x, const Tensor& y) const;
  // y = layer(x) + y
  void add_to(Session& session, const Tensor& x, const Tensor& y) const;
  // d_x += the gradient with respect to x.
  void backward(Session& session, const Tensor& d_y, const Tensor& d_x) const;
};

struct ConvolutionLayer {
  int64_t in = 0, out = 0, kernel_height = 1, kernel_width = 1;
  std::shared_ptr<const PackedWeight> weight;

  // x: [N,H,W,in] → [N,H,W,out], padded so that the size stays.
  Tensor operator()(Session& session, const Tensor& x) const;
  // y = layer(x) + residual; residual may be y.
  void add(Session& session, const Tensor& x, const Tensor& residual, const Tensor& y) const;
  // Stride 2: padded by 1 on all sides, or (the autoencoder's way) at the right and bottom only.
  enum class Padding { all_sides, right_and_bottom };
  Tensor halve(Session& session, const Tensor& x, Padding padding) const;

  // d_x += the gradient with respect to x, of operator() and of halve.
  void backward(Session& session, const Tensor& d_y, const Tensor& d_x) const;
  void halve_backward(Session& session, const Tensor& d_y, const Tensor& d_x, Padding padding) const;

  // The same over the frames of videos of `frames` pictures, for kernels of [kernel_height × 1 × 1].
  Tensor over_frames(Session& session, const Tensor& x, int64_t frames) const;
  void add_over_frames(Session& session, const Tensor& x, const Tensor& y,
                       int64_t frames) const;  // y += layer(x)

 private:
  Convolution describe(const Tensor& x) const;
  Convolution describe_halving(const Tensor& x, Padding padding) const;
  Convolution describe_over_frames(const Tensor& x, int64_t frames) const;
};

struct NormLayer {
  Tensor scale, shift;  // [channels]
  float epsilon = 1e-5f;
};

inline constexpr int64_t kGroups = 32;  // of every group norm in the diffusion networks

// Group norm over samples of `pictures` pictures each (1: every picture by itself; the frames of a video:
// together). x: [N,H,W,C]. `add` ([N,C], or undefined) is added to each picture first.
struct GroupNormUse {
  int64_t pictures = 1;
  Activation activation = Activation::none;
  Tensor add = {};
};
void group_norm(Session& session, const NormLayer& layer, const Tensor& x, const Tensor& y,
                const GroupNormUse& use);
Tensor group_norm(Session& session, const NormLayer& layer, const Tensor& x, const GroupNormUse& use);

// d_x += the gradient with respect to x; for uses without `add`.
void group_norm_backward(Session& session, const NormLayer& layer, const Tensor& x, const Tensor& d_y,
                         const Tensor& d_x, const GroupNormUse& use);

// Layer norm over the last axis. With `add` ([rows,width]), row (r / rows_per_add) % rows of it is added
// first and the sum is kept in `sum`, which may be x.
struct LayerNormUse {
  Tensor add = {};
  int64_t rows_per_add = 1;
  Tensor sum = {};
};
Tensor layer_norm(Session& session, const NormLayer& layer, const Tensor& x, const LayerNormUse& use = {});
LayerNorm describe_layer_norm(const NormLayer& layer, const Tensor& x, const Tensor& y);

// Linear, GEGLU, linear.
struct FeedForwardLayer {
  LinearLayer widen, narrow;                                              // widen.out = 2·narrow.in
  void add_to(Session& session, const Tensor& x, const Tensor& y) const;  // y = ff(x) + y
};

// The numbers of one tensor in another of the same count, rounded to its type.
void copy(Session& session, const Tensor& from, const Tensor& to);
// x in the session's type: itself, or a copy.
Tensor in_session_type(Session& session, const Tensor& x);

// a·weight + b·(1-weight), into `to`, which may be one of them.
void blend(Session& session, const Tensor& a, const Tensor& b, float weight, const Tensor& to);

// [rows,C1], [rows,C2] → [rows,C1+C2] over the last axis.
Tensor concatenate_channels(Session& session, const Tensor& a, const Tensor& b);

Tensor upsample(Session& session, const Tensor& x);  // nearest neighbour, × 2

// Bilinear, see ResizeFeatures; x itself where the size stays.
Tensor resize_features(Session& session, const Tensor& x, int64_t height, int64_t width,
                       bool align_corners = false);

// The largest values of windows at every second pixel, cut off at the right and bottom.
Tensor max_pool(Session& session, const Tensor& x, int64_t kernel);

}  // namespace eg4d
