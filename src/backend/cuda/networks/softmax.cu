// Where scores lie in memory: a block for each row.

#include "backend/cuda/check.h"
#include "backend/cuda/networks/network_kernels.h"
#include "backend/cuda/networks/typed_arrays.cuh"

namespace eg4d::cuda {
namespace {

// The same in all threads.
template <class Value, class Combine>
__device__ Value of_block(Value value, const Combine& combine) {
  __shared__ Value shared[kThreads / 32];
  for (int step = 16; step > 0; step /= 2) value = combine(value, __shfl_xor_sync(~0u, value, step));
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  value = shared[0];
  for (int i = 1; i < kThreads / 32; ++i) value = combine(value, shared[i]);
  return value;
}
struct Largest {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
struct Sum {
  template <class Value>
  __device__ Value operator()(Value a, Value b) const {
    return a + b;
  }
};

__global__ void __launch_bounds__(kThreads) softmax_rows_kernel(SoftmaxRows a) {
  const float* const x = a.x + blockIdx.x * a.width;
  float most = -INFINITY, sum = 0;
  for (int64_t c = threadIdx.x; c < a.width; c += kThreads) most = fmaxf(most, x[c]);
  most = of_block(most, Largest());
  for (int64_t c = threadIdx.x; c < a.width; c += kThreads) sum += expf(a.scale * (x[c] - most));
  sum = of_block(sum, Sum());
  for (int64_t c = threadIdx.x; c < a.width; c += kThreads)
    store(a.y, blockIdx.x * a.width + c, expf(a.scale * (x[c] - most)) / sum);
}

__global__ void __launch_bounds__(kThreads) softmax_gradients_kernel(SoftmaxGradients a) {
  float* const x = a.scores + blockIdx.x * a.width;
  float* const d = a.d + blockIdx.x * a.width;
  const int64_t seen = a.causal ? min(a.width, a.first + blockIdx.x + 1) : a.width;
  float most = -INFINITY;
  for (int64_t c = threadIdx.x; c < seen; c += kThreads) most = fmaxf(most, x[c]);
  most = of_block(most, Largest());
  double sum = 0, product = 0;
  for (int64_t c = threadIdx.x; c < seen; c += kThreads) {
    x[c] = expf(a.scale * (x[c] - most));
    sum += static_cast<double>(x[c]);
    product += static_cast<double>(x[c]) * static_cast<double>(d[c]);
  }
  sum = of_block(sum, Sum());
  product = of_block(product, Sum());
  const auto inverse = static_cast<float>(1 / sum), mean = static_cast<float>(product / sum);
  for (int64_t c = threadIdx.x; c < a.width; c += kThreads) {
    x[c] = c < seen ? x[c] * inverse : 0.0f;
    d[c] = c < seen ? x[c] * (d[c] - mean) * a.scale : 0.0f;
  }
}

}  // namespace

void softmax_rows(const SoftmaxRows& a, cudaStream_t stream) {
  if (a.rows == 0 || a.width == 0) return;
  softmax_rows_kernel<<<static_cast<unsigned>(a.rows), kThreads, 0, stream>>>(a);
  check_launch("computing a softmax");
}

void softmax_gradients(const SoftmaxGradients& a, cudaStream_t stream) {
  if (a.rows == 0 || a.width == 0) return;
  softmax_gradients_kernel<<<static_cast<unsigned>(a.rows), kThreads, 0, stream>>>(a);
  check_launch("going back through a softmax");
}

}  // namespace eg4d::cuda
