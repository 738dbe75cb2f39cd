// What the networks that look at pictures need besides the rest: plain, since they take little time.

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/networks/network_kernels.h"
#include "backend/cuda/networks/typed_arrays.cuh"

namespace eg4d::cuda {
namespace {

// Where a row or column of the result comes from: two neighbours and the share of the second.
struct Between {
  int64_t low, high;
  float share;
};
__device__ Between between(int64_t i, int64_t in, int64_t out, bool align_corners) {
  float position;
  if (align_corners)
    position =
        static_cast<float>(i) * (static_cast<float>(in - 1) / static_cast<float>(out > 1 ? out - 1 : 1));
  else
    position = fmaxf(
        (static_cast<float>(i) + 0.5f) * (static_cast<float>(in) / static_cast<float>(out)) - 0.5f, 0.0f);
  const int64_t low = min(static_cast<int64_t>(position), in - 1);
  return {low, min(low + 1, in - 1), fminf(fmaxf(position - static_cast<float>(low), 0.0f), 1.0f)};
}

__global__ void resize_features_kernel(ResizeFeatures a) {
  const int64_t at = thread_number();
  if (at >= a.batch * a.out_height * a.out_width * a.channels) return;
  const int64_t channel = at % a.channels, column = at / a.channels % a.out_width,
                row = at / a.channels / a.out_width % a.out_height,
                picture = at / a.channels / a.out_width / a.out_height;
  const Between rows = between(row, a.height, a.out_height, a.align_corners);
  const Between columns = between(column, a.width, a.out_width, a.align_corners);
  const auto x = [&](int64_t i, int64_t j) {
    return load(a.x, ((picture * a.height + i) * a.width + j) * a.channels + channel);
  };
  const auto across = [&](int64_t i) {
    return fmaf(columns.share, x(i, columns.high), (1 - columns.share) * x(i, columns.low));
  };
  store(a.y, at, fmaf(rows.share, across(rows.high), (1 - rows.share) * across(rows.low)));
}

// The largest value of a window and its place in x; the first of equal ones, NaN before all.
struct Largest {
  float value;
  int64_t at;
};
__device__ Largest largest(const MaxPool& a, int64_t picture, int64_t row, int64_t column, int64_t channel) {
  const int64_t top = row * a.stride, left = column * a.stride;
  const int64_t bottom = min(top + a.kernel, a.height), right = min(left + a.kernel, a.width);
  Largest best{0, -1};
  for (int64_t i = top; i < bottom; ++i)
    for (int64_t j = left; j < right; ++j) {
      const int64_t at = ((picture * a.height + i) * a.width + j) * a.channels + channel;
      const float value = load(a.x, at);
      if (best.at < 0 || value > best.value || isnan(value)) best = {value, at};
    }
  return best;
}

__global__ void max_pool_kernel(MaxPool a) {
  const int64_t at = thread_number();
  if (at >= a.batch * a.out_height * a.out_width * a.channels) return;
  const int64_t channel = at % a.channels, column = at / a.channels % a.out_width,
                row = at / a.channels / a.out_width % a.out_height,
                picture = at / a.channels / a.out_width / a.out_height;
  store(a.y, at, largest(a, picture, row, column, channel).value);
}

// Every input pixel asks the windows that it lies in.
__global__ void max_pool_backward_kernel(MaxPoolBackward b) {
  const MaxPool& a = b.forward;
  const int64_t at = thread_number();
  if (at >= a.batch * a.height * a.width * a.channels) return;
  const int64_t channel = at % a.channels, x = at / a.channels % a.width,
                y = at / a.channels / a.width % a.height, picture = at / a.channels / a.width / a.height;
  float sum = 0;
  const auto first = [&](int64_t p) { return p < a.kernel ? 0 : (p - a.kernel) / a.stride + 1; };
  for (int64_t row = first(y); row < a.out_height && row * a.stride <= y; ++row)
    for (int64_t column = first(x); column < a.out_width && column * a.stride <= x; ++column)
      if (largest(a, picture, row, column, channel).at == at)
        sum += b.d_y[((picture * a.out_height + row) * a.out_width + column) * a.channels + channel];
  b.d_x[at] += sum;
}

// ---------------------------------------------------------------- distances: a warp per position

__device__ float sum_of_warp(float value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}

__device__ float length_of(const float* x, int64_t channels) {
  float sum = 0;
  for (int64_t c = threadIdx.x % 32; c < channels; c += 32) sum = fmaf(x[c], x[c], sum);
  return sqrtf(sum_of_warp(sum));
}

constexpr int kWarps = 8;                 // of a block
constexpr int64_t kPositionsPerWarp = 4;  // where there are not very many

unsigned distance_blocks(const FeatureDistance& a) {
  constexpr int64_t kMostBlocks = 1024, kPerBlock = kWarps * kPositionsPerWarp;
  return static_cast<unsigned>(std::min((a.positions + kPerBlock - 1) / kPerBlock, kMostBlocks));
}

// The sum of some positions of a picture; of all sums, the second kernel makes one, in the blocks' order.
__global__ void __launch_bounds__(32 * kWarps) feature_distance_kernel(FeatureDistance a, double* sums) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  double total = 0;
  for (int64_t p = blockIdx.x * kWarps + warp; p < a.positions; p += gridDim.x * kWarps) {
    const int64_t at = (blockIdx.y * a.positions + p) * a.channels;
    const float *u = a.a + at, *v = a.b + at;
    const float u_gain = 1 / (length_of(u, a.channels) + a.epsilon),
                v_gain = 1 / (length_of(v, a.channels) + a.epsilon);
    float sum = 0;
    for (int64_t c = lane; c < a.channels; c += 32) {
      const float difference = u[c] * u_gain - v[c] * v_gain;
      sum = fmaf(difference * difference, a.weight[c], sum);
    }
    total += sum_of_warp(sum);
  }
  __shared__ double totals[kWarps];
  if (lane == 0) totals[warp] = total;
  __syncthreads();
  if (threadIdx.x != 0) return;
  double all = 0;
  for (const double part : totals) all += part;
  sums[blockIdx.y * gridDim.x + blockIdx.x] = all;
}

// A warp per picture.
__global__ void add_distances_kernel(FeatureDistance a, const double* sums, int count) {
  double total = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += 32) total += sums[blockIdx.x * count + i];
  for (int step = 16; step > 0; step /= 2) total += __shfl_xor_sync(~0u, total, step);
  if (threadIdx.x == 0) a.values[blockIdx.x] += total / static_cast<double>(a.positions);
}

// With n = ‖a‖ + ε and g = 2·factor·w·(â - b̂): d_a += g / n - a·(g·a) / (n²·‖a‖).
__global__ void feature_distance_backward_kernel(FeatureDistanceBackward b) {
  const FeatureDistance& a = b.forward;
  const int lane = threadIdx.x % 32;
  const int64_t position = thread_number() / 32;
  if (position >= a.batch * a.positions) return;
  const float *u = a.a + position * a.channels, *v = a.b + position * a.channels;
  const float length = length_of(u, a.channels), other = length_of(v, a.channels);
  if (length == 0) return;
  const float u_gain = 1 / (length + a.epsilon), v_gain = 1 / (other + a.epsilon);
  const float factor = b.d_value / static_cast<float>(a.positions);
  const auto slope = [&](int64_t c) { return 2 * factor * a.weight[c] * (u[c] * u_gain - v[c] * v_gain); };
  float along = 0;
  for (int64_t c = lane; c < a.channels; c += 32) along = fmaf(slope(c), u[c], along);
  const float radial = sum_of_warp(along) * u_gain * u_gain / length;
  float* const d_a = b.d_a + position * a.channels;
  for (int64_t c = lane; c < a.channels; c += 32) d_a[c] += slope(c) * u_gain - u[c] * radial;
}

}  // namespace

void resize_features(const ResizeFeatures& a, cudaStream_t stream) {
  const int64_t count = a.batch * a.out_height * a.out_width * a.channels;
  if (count == 0 || a.height == 0 || a.width == 0) return;
  resize_features_kernel<<<blocks_for(count), kThreads, 0, stream>>>(a);
  check_launch("resizing features");
}

void max_pool(const MaxPool& a, cudaStream_t stream) {
  const int64_t count = a.batch * a.out_height * a.out_width * a.channels;
  if (count == 0) return;
  max_pool_kernel<<<blocks_for(count), kThreads, 0, stream>>>(a);
  check_launch("pooling");
}

void max_pool_backward(const MaxPoolBackward& a, cudaStream_t stream) {
  const MaxPool& f = a.forward;
  const int64_t count = f.batch * f.height * f.width * f.channels;
  if (count == 0) return;
  max_pool_backward_kernel<<<blocks_for(count), kThreads, 0, stream>>>(a);
  check_launch("going back through pooling");
}

size_t feature_distance_workspace_bytes(const FeatureDistance& a) {
  return static_cast<size_t>(a.batch) * distance_blocks(a) * sizeof(double);
}

void feature_distance(const FeatureDistance& a, void* workspace, cudaStream_t stream) {
  if (a.batch == 0 || a.positions == 0) return;
  auto* const sums = static_cast<double*>(workspace);
  const unsigned blocks = distance_blocks(a), pictures = static_cast<unsigned>(a.batch);
  feature_distance_kernel<<<dim3(blocks, pictures), 32 * kWarps, 0, stream>>>(a, sums);
  add_distances_kernel<<<pictures, 32, 0, stream>>>(a, sums, static_cast<int>(blocks));
  check_launch("comparing features");
}

void feature_distance_backward(const FeatureDistanceBackward& a, cudaStream_t stream) {
  const int64_t positions = a.forward.batch * a.forward.positions;
  if (positions == 0) return;
  feature_distance_backward_kernel<<<blocks_for(32 * positions), kThreads, 0, stream>>>(a);
  check_launch("comparing features backwards");
}

}  // namespace eg4d::cuda
