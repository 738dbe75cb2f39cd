#include "backend/cuda/check.h"
#include "backend/cuda/networks/group_norm.cuh"
#include "backend/cuda/networks/network_kernels.h"

namespace eg4d::cuda {
namespace {

// With n the normalised value and u = scale·n + shift: n, and the gradient with respect to u.
struct Normalized {
  float n, d_u;
};
__device__ Normalized normalized(const GroupNormBackward& b, const float2* terms, int64_t sample, int64_t at,
                                 int64_t channel) {
  const GroupNorm& a = b.forward;
  const float2 term = terms[sample * a.channels + channel];
  const float n = (load(a.x, at) - term.x) * term.y;
  float d_u = b.d_y[at];
  if (a.activation == Activation::silu) {
    const float u = fmaf(n, a.scale[channel], a.shift[channel]), s = 1 / (1 + expf(-u));
    d_u *= s * (1 + u * (1 - s));
  }
  return {n, d_u};
}

__global__ void gradient_sums_kernel(GroupNormBackward b, GroupNormGrid grid, const float2* terms,
                                     float* sums) {
  const GroupNorm& a = b.forward;
  const GroupNormPlace place = group_norm_place<1>(a, grid);
  Values<1> gradient = {}, product = {};
  if (!place.idle)
    for (int64_t p = place.begin; p < place.end; p += grid.down) {
      const int64_t at = (place.sample * a.positions + p) * a.channels + place.channel;
      const Normalized value = normalized(b, terms, place.sample, at, place.channel);
      gradient.v[0] += value.d_u;
      product.v[0] = fmaf(value.d_u, value.n, product.v[0]);
    }
  leave_sums<1>(a, grid, place, gradient, product, sums);
}

// means[sample][group]: of the gradient with respect to n, and of its product with n.
__global__ void gradient_means_kernel(GroupNorm a, GroupNormGrid grid, const float* sums, float2* means) {
  const int64_t width = a.channels / a.groups, sample = blockIdx.y, first = blockIdx.x * width;
  double gradient = 0, product = 0;
  for (int64_t i = threadIdx.x; i < grid.pieces * width; i += 32) {
    const int64_t channel = first + i % width;
    const float* from = sums + ((sample * grid.pieces + i / width) * a.channels + channel) * 2;
    gradient += static_cast<double>(from[0]) * static_cast<double>(a.scale[channel]);
    product += static_cast<double>(from[1]) * static_cast<double>(a.scale[channel]);
  }
  gradient = sum_of_warp(gradient);
  product = sum_of_warp(product);
  const auto count = static_cast<double>(width * a.positions);
  if (threadIdx.x == 0)
    means[sample * a.groups + blockIdx.x] =
        make_float2(static_cast<float>(gradient / count), static_cast<float>(product / count));
}

__global__ void add_gradients_kernel(GroupNormBackward b, const float2* terms, const float2* means) {
  const GroupNorm& a = b.forward;
  const int64_t at = thread_number();
  if (at >= a.batch * a.positions * a.channels) return;
  const int64_t channel = at % a.channels, sample = at / a.channels / a.positions;
  const Normalized value = normalized(b, terms, sample, at, channel);
  const float2 mean = means[sample * a.groups + channel / (a.channels / a.groups)];
  b.d_x[at] +=
      (value.d_u * a.scale[channel] - mean.x - value.n * mean.y) * terms[sample * a.channels + channel].y;
}

GroupNormGrid grid_of(const GroupNorm& a) {
  return {a, false};  // one channel a thread
}

}  // namespace

size_t group_norm_backward_workspace_bytes(const GroupNormBackward& a) {
  const GroupNorm& f = a.forward;
  return static_cast<size_t>(f.batch * (f.channels + f.groups)) * sizeof(float2) + grid_of(f).sums_bytes(f);
}

void group_norm_backward(const GroupNormBackward& a, void* workspace, cudaStream_t stream) {
  const GroupNorm& f = a.forward;
  const GroupNormGrid grid = grid_of(f);
  const int64_t count = f.batch * f.positions * f.channels;
  if (count == 0) return;
  auto* const terms = static_cast<float2*>(workspace);
  float2* const means = terms + f.batch * f.channels;
  auto* const sums = reinterpret_cast<float*>(means + f.batch * f.groups);
  group_norm_terms(f, grid, sums, terms, stream);
  const size_t shared = static_cast<size_t>(grid.across * grid.down) * 2 * sizeof(float);
  gradient_sums_kernel<<<grid.blocks(f.batch), grid.threads(), shared, stream>>>(a, grid, terms, sums);
  const dim3 groups(static_cast<unsigned>(f.groups), static_cast<unsigned>(f.batch));
  gradient_means_kernel<<<groups, 32, 0, stream>>>(f, grid, sums, means);
  add_gradients_kernel<<<blocks_for(count), kThreads, 0, stream>>>(a, terms, means);
  check_launch("going back through a group norm");
}

}  // namespace eg4d::cuda
