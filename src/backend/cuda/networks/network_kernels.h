#pragma once

// The GPU's own kernels for networks. Each enqueues its work; what an operation with no elements needs is
// nothing.

#include <cuda_runtime_api.h>

#include "backend/neural_ops.h"
#include "backend/sampling_ops.h"

namespace eg4d::cuda {

// ---------------------------------------------------------------- elementwise.cu

void scaled_sum(const ScaledSum& a, cudaStream_t stream);
void convert(const Convert& a, cudaStream_t stream);
void activate(const Activate& a, cudaStream_t stream);
void geglu(const Geglu& a, cudaStream_t stream);
void scale_channels(const ScaleChannels& a, cudaStream_t stream);
void scale_channels_backward(const ScaleChannelsBackward& a, cudaStream_t stream);

// y = activation(x + bias) + residual; bias (f32, one per column) and residual may be null.
struct Finish {
  int64_t rows = 0, width = 0;
  ConstArray x = {};
  const float* bias = nullptr;
  Activation activation = Activation::none;
  ConstArray residual = {};
  Array y = {};
};
void finish(const Finish& a, cudaStream_t stream);

// d = y > 0 ? d_y : 0
void relu_gradient(ConstArray y, const float* d_y, int64_t count, float* d, cudaStream_t stream);

// ---------------------------------------------------------------- moves.cu

void copy_rows(const CopyRows& a, cudaStream_t stream);
void upsample(const Upsample& a, cudaStream_t stream);
void patches(const Patches& a, cudaStream_t stream);

// The pixels under the kernel for the output pixels [begin, begin + count): a row each, [taps,in]; zero
// outside.
struct Columns {
  Convolution convolution;
  int64_t begin = 0, count = 0;
  Array to = {};  // [count, taps·in]
};
void columns(const Columns& a, cudaStream_t stream);
// d_x += what the rows of all output pixels hold, each where it came from. Rows lie `pitch` numbers apart.
void add_columns(const Convolution& a, const float* columns, int64_t pitch, float* d_x, cudaStream_t stream);

// A stored weight as the products take it: to[row][tap][i] of from[row][i][tap] (columns = inputs·taps),
// times scale; stored transposed as from[column][row].
struct WeightPart {
  ConstArray from = {};
  int64_t rows = 0, columns = 0, taps = 1;
  bool transposed = false;
  float scale = 1;
  DType rounded_to = DType::f32;  // first, where `to` is wider
  Array to = {};
};
void pack_weight(const WeightPart& a, cudaStream_t stream);

// ---------------------------------------------------------------- features.cu

void resize_features(const ResizeFeatures& a, cudaStream_t stream);
void max_pool(const MaxPool& a, cudaStream_t stream);
void max_pool_backward(const MaxPoolBackward& a, cudaStream_t stream);
size_t feature_distance_workspace_bytes(const FeatureDistance& a);
void feature_distance(const FeatureDistance& a, void* workspace, cudaStream_t stream);
void feature_distance_backward(const FeatureDistanceBackward& a, cudaStream_t stream);

// ---------------------------------------------------------------- group_norm.cu, group_norm_backward.cu,
// layer_norm.cu

size_t group_norm_workspace_bytes(const GroupNorm& a);
void group_norm(const GroupNorm& a, void* workspace, cudaStream_t stream);
// The way for all sizes and types; group_norm takes group_norm_resident.h's where there is one.
size_t group_norm_passes_workspace_bytes(const GroupNorm& a);
void group_norm_passes(const GroupNorm& a, void* workspace, cudaStream_t stream);
size_t group_norm_backward_workspace_bytes(const GroupNormBackward& a);
void group_norm_backward(const GroupNormBackward& a, void* workspace, cudaStream_t stream);
void layer_norm(const LayerNorm& a, cudaStream_t stream);
void mixed_norm(const MixedNorm& a, cudaStream_t stream);

// ---------------------------------------------------------------- softmax.cu

// y[row] = softmax(scale·x[row]); x is f32.
struct SoftmaxRows {
  int64_t rows = 0, width = 0;
  float scale = 1;
  const float* x = nullptr;
  Array y = {};  // may be x
};
void softmax_rows(const SoftmaxRows& a, cudaStream_t stream);

// Of scores, the weights, in place; of d, the gradients with respect to weights, those with respect to the
// products of queries and keys, in place. With causal, row r sees the first first + r + 1 keys only.
struct SoftmaxGradients {
  int64_t rows = 0, width = 0;
  float scale = 1;
  bool causal = false;
  int64_t first = 0;
  float *scores = nullptr, *d = nullptr;
};
void softmax_gradients(const SoftmaxGradients& a, cudaStream_t stream);

// ---------------------------------------------------------------- sampling.cu

void network_input(const NetworkInput& a, cudaStream_t stream);
void timestep_sinusoids(const TimestepSinusoids& a, cudaStream_t stream);
void euler_step(const EulerStep& a, cudaStream_t stream);
void noisy_latents(const NoisyLatents& a, cudaStream_t stream);
void sample_moments(const SampleMoments& a, cudaStream_t stream);
void fit_picture(const FitPicture& a, cudaStream_t stream);
void fit_picture_backward(const FitPictureBackward& a, cudaStream_t stream);

}  // namespace eg4d::cuda
