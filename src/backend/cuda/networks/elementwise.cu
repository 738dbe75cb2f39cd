#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/networks/network_kernels.h"
#include "backend/cuda/networks/typed_arrays.cuh"

namespace eg4d::cuda {
namespace {

template <int N>
__global__ void scaled_sum_kernel(ScaledSum a) {
  const int64_t at = thread_number() * N;
  if (at >= a.count) return;
  Values<N> u = load_values<N>(a.a, at);
  if (a.b.data) {
    const Values<N> w = load_values<N>(a.b, at);
#pragma unroll
    for (int i = 0; i < N; ++i) u.v[i] = u.v[i] * a.a_scale + w.v[i] * a.b_scale;
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) u.v[i] *= a.a_scale;
  }
  store_values(a.y, at, u);
}

template <int N>
__global__ void activate_kernel(Activate a) {
  const int64_t at = thread_number() * N;
  if (at >= a.count) return;
  Values<N> x = load_values<N>(a.x, at);
#pragma unroll
  for (int i = 0; i < N; ++i) x.v[i] = activated(a.activation, x.v[i], a.y.type);
  store_values(a.y, at, x);
}

template <int N>
__global__ void geglu_kernel(Geglu a) {
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  if (column >= a.width) return;
#pragma unroll 2
  for (int64_t r = blockIdx.y; r < a.rows; r += gridDim.y) {
    Values<N> value = load_values<N>(a.x, r * 2 * a.width + column);
    const Values<N> gate = load_values<N>(a.x, r * 2 * a.width + a.width + column);
#pragma unroll
    for (int i = 0; i < N; ++i)
      value.v[i] *= a.y.type == DType::f32 ? gelu(gate.v[i]) : gelu_of_half(gate.v[i]);
    store_values(a.y, r * a.width + column, value);
  }
}

template <int N>
__global__ void finish_kernel(Finish a) {
  const int64_t at = thread_number() * N;
  if (at >= a.rows * a.width) return;
  Values<N> x = load_values<N>(a.x, at);
  if (a.bias) {
    const Values<N> bias = load_values<N>({a.bias, DType::f32}, at % a.width);
#pragma unroll
    for (int i = 0; i < N; ++i) x.v[i] += bias.v[i];
  }
#pragma unroll
  for (int i = 0; i < N; ++i) x.v[i] = activated(a.activation, x.v[i], a.y.type);
  if (a.residual.data) {
    const Values<N> residual = load_values<N>(a.residual, at);
#pragma unroll
    for (int i = 0; i < N; ++i) x.v[i] += residual.v[i];
  }
  store_values(a.y, at, x);
}

__global__ void scale_channels_kernel(ScaleChannels a) {
  const int64_t at = thread_number();
  if (at >= a.rows * a.channels) return;
  const int64_t channel = at % a.channels;
  store(a.y, at, fmaf(load(a.x, at), a.scale[channel], a.shift[channel]));
}

__global__ void scale_channels_backward_kernel(ScaleChannelsBackward a) {
  const int64_t at = thread_number();
  if (at >= a.forward.rows * a.forward.channels) return;
  a.d_x[at] = fmaf(a.d_y[at], a.forward.scale[at % a.forward.channels], a.d_x[at]);
}

__global__ void relu_gradient_kernel(ConstArray y, const float* d_y, int64_t count, float* d) {
  const int64_t at = thread_number();
  if (at < count) d[at] = load(y, at) > 0 ? d_y[at] : 0.0f;
}

}  // namespace

void scaled_sum(const ScaledSum& a, cudaStream_t stream) {
  if (a.count == 0) return;
  if (in_eights(a.count, {a.a, a.b, a.y}))
    scaled_sum_kernel<8><<<blocks_for(a.count / 8), kThreads, 0, stream>>>(a);
  else
    scaled_sum_kernel<1><<<blocks_for(a.count), kThreads, 0, stream>>>(a);
  check_launch("adding arrays");
}

void activate(const Activate& a, cudaStream_t stream) {
  if (a.count == 0) return;
  if (in_eights(a.count, {a.x, a.y}))
    activate_kernel<8><<<blocks_for(a.count / 8), kThreads, 0, stream>>>(a);
  else
    activate_kernel<1><<<blocks_for(a.count), kThreads, 0, stream>>>(a);
  check_launch("computing an activation");
}

void convert(const Convert& a, cudaStream_t stream) {
  activate({.count = a.count, .activation = Activation::none, .x = a.x, .y = a.y}, stream);
}

void geglu(const Geglu& a, cudaStream_t stream) {
  if (a.rows == 0 || a.width == 0) return;
  const bool eights = in_eights(a.width, {a.x, a.y});
  const int64_t across = eights ? a.width / 8 : a.width, parts = (across + 639) / 640;
  const auto threads = static_cast<unsigned>((across + 32 * parts - 1) / (32 * parts) * 32);  // whole warps
  const dim3 blocks(static_cast<unsigned>(parts), static_cast<unsigned>(std::min<int64_t>(a.rows, 65535)));
  if (eights)
    geglu_kernel<8><<<blocks, threads, 0, stream>>>(a);
  else
    geglu_kernel<1><<<blocks, threads, 0, stream>>>(a);
  check_launch("computing GEGLU");
}

void finish(const Finish& a, cudaStream_t stream) {
  const int64_t count = a.rows * a.width;
  if (count == 0) return;
  if (in_eights(a.width, {a.x, a.bias, a.residual, a.y}))
    finish_kernel<8><<<blocks_for(count / 8), kThreads, 0, stream>>>(a);
  else
    finish_kernel<1><<<blocks_for(count), kThreads, 0, stream>>>(a);
  check_launch("finishing a layer");
}

void scale_channels(const ScaleChannels& a, cudaStream_t stream) {
  const int64_t count = a.rows * a.channels;
  if (count == 0) return;
  scale_channels_kernel<<<blocks_for(count), kThreads, 0, stream>>>(a);
  check_launch("scaling channels");
}

void scale_channels_backward(const ScaleChannelsBackward& a, cudaStream_t stream) {
  const int64_t count = a.forward.rows * a.forward.channels;
  if (count == 0) return;
  scale_channels_backward_kernel<<<blocks_for(count), kThreads, 0, stream>>>(a);
  check_launch("scaling channels backwards");
}

void relu_gradient(ConstArray y, const float* d_y, int64_t count, float* d, cudaStream_t stream) {
  if (count == 0) return;
  relu_gradient_kernel<<<blocks_for(count), kThreads, 0, stream>>>(y, d_y, count, d);
  check_launch("going back through an activation");
}

}  // namespace eg4d::cuda
