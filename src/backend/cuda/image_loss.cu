// L1 and SSIM with the gradient of the image. A block takes a rectangle of one channel: with its surroundings
// in shared memory, the five window means (of a, b, a², b², ab) are blurred along the rows, then down the
// columns, and give the value and the derivatives with respect to three of them. A second kernel blurs these
// (the window is symmetric and the padding zero, so the blur is its own adjoint), which gives the derivative
// with respect to a. Sums are partial per block and added up in a fixed order: the same bits from run to run.

#include <algorithm>
#include <cmath>

#include "backend/cuda/check.h"
#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kRadius = 5, kWindow = 2 * kRadius + 1;
constexpr int kAcross = 32, kDown = 16;  // pixels of a block
constexpr int kWide = kAcross + 2 * kRadius, kHigh = kDown + 2 * kRadius;
constexpr int kThreads = 256;
constexpr float kC1 = 0.01f * 0.01f, kC2 = 0.03f * 0.03f;

// Sums of one block.
struct Sums {
  double absolute, similarity, square;
};

struct Window {
  float weight[kWindow];
};

struct Problem {
  ImageLoss loss;
  Window window;
  bool with_ssim;
  float l1_scale, ssim_scale;          // of the gradient
  float *d_mean, *d_square, *d_cross;  // [3,H,W] derivatives of the sum of SSIM values with respect to means
  Sums* sums;                          // [blocks]
  int blocks;
};

__device__ float absolute_gradient(float difference, float scale) {
  return difference > 0 ? scale : difference < 0 ? -scale : 0.0f;
}

// Adds over the block, in a fixed order; thread 0 has the result.
__device__ Sums add_over_block(Sums own) {
  __shared__ Sums all[kThreads / 32];
  double* values[] = {&own.absolute, &own.similarity, &own.square};
#pragma unroll
  for (double* value : values)
    for (int step = 16; step > 0; step /= 2) *value += __shfl_xor_sync(0xffffffffu, *value, step);
  if (threadIdx.x % 32 == 0) all[threadIdx.x / 32] = own;
  __syncthreads();
  Sums total{};
  for (const Sums& part : all) {
    total.absolute += part.absolute;
    total.similarity += part.similarity;
    total.square += part.square;
  }
  return total;
}

// A block's rectangle of one channel, and where its surroundings begin.
struct Place {
  int channel, left, top;
};
__device__ Place place_of_block() {
  return {static_cast<int>(blockIdx.z), static_cast<int>(blockIdx.x) * kAcross - kRadius,
          static_cast<int>(blockIdx.y) * kDown - kRadius};
}
__device__ int number_of_block() {
  return static_cast<int>((blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x);
}

// value(x, y) for every pixel of the surroundings; zero outside the image.
template <class Value>
__device__ void load(const ImageLoss& l, const Place& place, float (&to)[kHigh][kWide + 1],
                     const Value& value) {
  for (int i = static_cast<int>(threadIdx.x); i < kHigh * kWide; i += kThreads) {
    const int row = i / kWide, column = i % kWide, x = place.left + column, y = place.top + row;
    const bool inside = x >= 0 && y >= 0 && x < l.width && y < l.height;
    to[row][column] = inside ? value(x, y) : 0;
  }
}

// A thread blurs kTogether neighbours of a row, then kTogetherDown of a column, so that a value is loaded
// once for several of the windows that it is in. The lanes of a load are in different rows, whose pitch is
// odd.
constexpr int kTogether = 4, kTogetherDown = 2;
static_assert(kAcross % kTogether == 0 && kAcross / 32 * kDown / kTogetherDown * 32 == kThreads);
constexpr int kRowPasses = kHigh * kAcross / kTogether;
using BlurredRows = float[kHigh][kAcross + 1];
struct RowPass {
  int row, column;
  __device__ explicit RowPass(int i) : row(i % kHigh), column(i / kHigh * kTogether) {}
};
// add(q, r, weight, value): adds to the q-th mean of the r-th pixel of the thread's column.
template <int kMeans, class Add>
__device__ void blur_down(const BlurredRows (&rows)[kMeans], const Window& window, const Add& add) {
  const int column = static_cast<int>(threadIdx.x) % kAcross,
            row = static_cast<int>(threadIdx.x) / kAcross * kTogetherDown;
#pragma unroll
  for (int k = 0; k < kWindow + kTogetherDown - 1; ++k) {
#pragma unroll
    for (int q = 0; q < kMeans; ++q) {
      const float value = rows[q][row + k][column];
#pragma unroll
      for (int r = 0; r < kTogetherDown; ++r)
        if (k >= r && k - r < kWindow) add(q, r, window.weight[k - r], value);
    }
  }
}

// Value and derivatives from the five window means.
struct Similarity {
  float value, d_mean, d_square, d_cross;
};
__device__ Similarity similarity(float a, float b, float aa, float bb, float ab) {
  const float variances = fmaf(-a, a, aa) + fmaf(-b, b, bb);
  const float luminance = fmaf(2.0f, a * b, kC1), contrast = fmaf(2.0f, fmaf(-a, b, ab), kC2);
  const float luminance_norm = fmaf(a, a, b * b) + kC1, contrast_norm = variances + kC2;
  const float norm = 1 / (luminance_norm * contrast_norm);
  Similarity s;
  s.value = luminance * contrast * norm;
  s.d_square = -(s.value * (luminance_norm * norm));
  s.d_cross = 2 * luminance * norm;
  // 2·b·contrast·norm - 2·a·value/luminance_norm - b·d_cross - 2·a·d_square
  const float with_b = b * fmaf(-2.0f, contrast * norm, s.d_cross);
  const float with_a = 2 * a * fmaf(s.value, contrast_norm * norm, s.d_square);
  s.d_mean = -(with_a + with_b);
  return s;
}

__global__ void __launch_bounds__(kThreads) similarity_kernel(const __grid_constant__ Problem p) {
  __shared__ float a[kHigh][kWide + 1], b[kHigh][kWide + 1];
  __shared__ BlurredRows rows[5];
  const ImageLoss& l = p.loss;
  const Place place = place_of_block();
  const auto at = [&](int x, int y) { return (int64_t{y} * l.width + x) * 3 + place.channel; };
  load(l, place, a, [&](int x, int y) { return l.image[at(x, y)]; });
  load(l, place, b, [&](int x, int y) { return l.target[at(x, y)]; });
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kRowPasses; i += kThreads) {
    const RowPass at(i);
    float sums[5][kTogether] = {};
#pragma unroll
    for (int k = 0; k < kWindow + kTogether - 1; ++k) {
      const float va = a[at.row][at.column + k], vb = b[at.row][at.column + k];
#pragma unroll
      for (int j = 0; j < kTogether; ++j) {
        if (k < j || k - j >= kWindow) continue;
        const float wa = p.window.weight[k - j] * va, wb = p.window.weight[k - j] * vb;
        sums[0][j] += wa;
        sums[1][j] += wb;
        sums[2][j] = fmaf(wa, va, sums[2][j]);
        sums[3][j] = fmaf(wb, vb, sums[3][j]);
        sums[4][j] = fmaf(wa, vb, sums[4][j]);
      }
    }
#pragma unroll
    for (int q = 0; q < 5; ++q)
#pragma unroll
      for (int j = 0; j < kTogether; ++j) rows[q][at.row][at.column + j] = sums[q][j];
  }
  __syncthreads();
  float means[kTogetherDown][5] = {};
  blur_down(rows, p.window,
            [&](int q, int r, float weight, float value) { means[r][q] = fmaf(weight, value, means[r][q]); });
  Sums own{};
#pragma unroll
  for (int r = 0; r < kTogetherDown; ++r) {
    const int row = static_cast<int>(threadIdx.x) / kAcross * kTogetherDown + r,
              column = static_cast<int>(threadIdx.x) % kAcross;
    const int x = place.left + kRadius + column, y = place.top + kRadius + row;
    if (x >= l.width || y >= l.height) continue;
    const float(&mean)[5] = means[r];
    const Similarity s = similarity(mean[0], mean[1], mean[2], mean[3], mean[4]);
    const float difference = a[row + kRadius][column + kRadius] - b[row + kRadius][column + kRadius];
    own.absolute += fabsf(difference);
    own.square += double{difference} * difference;
    own.similarity += s.value;
    if (!p.d_mean) continue;
    const int64_t plane = (int64_t{place.channel} * l.height + y) * l.width + x;
    p.d_mean[plane] = s.d_mean;
    p.d_square[plane] = s.d_square;
    p.d_cross[plane] = s.d_cross;
  }
  const Sums total = add_over_block(own);
  if (threadIdx.x == 0) p.sums[number_of_block()] = total;
}

__global__ void __launch_bounds__(kThreads) gradient_kernel(const __grid_constant__ Problem p) {
  __shared__ float maps[3][kHigh][kWide + 1];
  __shared__ BlurredRows rows[3];
  const ImageLoss& l = p.loss;
  const Place place = place_of_block();
  const float* const derivatives[3] = {p.d_mean, p.d_square, p.d_cross};
  for (int q = 0; q < 3; ++q)
    load(l, place, maps[q],
         [&](int x, int y) { return derivatives[q][(int64_t{place.channel} * l.height + y) * l.width + x]; });
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kRowPasses; i += kThreads) {
    const RowPass at(i);
#pragma unroll
    for (int q = 0; q < 3; ++q) {
      float sums[kTogether] = {};
#pragma unroll
      for (int k = 0; k < kWindow + kTogether - 1; ++k) {
        const float value = maps[q][at.row][at.column + k];
#pragma unroll
        for (int j = 0; j < kTogether; ++j)
          if (k >= j && k - j < kWindow) sums[j] = fmaf(p.window.weight[k - j], value, sums[j]);
      }
#pragma unroll
      for (int j = 0; j < kTogether; ++j) rows[q][at.row][at.column + j] = sums[j];
    }
  }
  __syncthreads();
  float all_sums[kTogetherDown][3] = {};
  blur_down(rows, p.window, [&](int q, int r, float weight, float value) {
    all_sums[r][q] = fmaf(weight, value, all_sums[r][q]);
  });
#pragma unroll
  for (int r = 0; r < kTogetherDown; ++r) {
    const int row = static_cast<int>(threadIdx.x) / kAcross * kTogetherDown + r,
              column = static_cast<int>(threadIdx.x) % kAcross;
    const int x = place.left + kRadius + column, y = place.top + kRadius + row;
    if (x >= l.width || y >= l.height) continue;
    const float(&sums)[3] = all_sums[r];
    const int64_t at = (int64_t{y} * l.width + x) * 3 + place.channel;
    const float a = l.image[at], b = l.target[at];
    const float d = fmaf(b, sums[2], fmaf(a + a, sums[1], sums[0]));
    l.d_image[at] = fmaf(d, p.ssim_scale, absolute_gradient(a - b, p.l1_scale));
  }
}

// Without SSIM. One float a thread and round, by a fixed number of blocks.
__global__ void __launch_bounds__(kThreads) difference_kernel(const __grid_constant__ Problem p) {
  const ImageLoss& l = p.loss;
  const int64_t count = int64_t{3} * l.width * l.height;
  Sums own{};
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count;
       i += int64_t{p.blocks} * kThreads) {
    const float difference = l.image[i] - l.target[i];
    own.absolute += fabsf(difference);
    own.square += double{difference} * difference;
    if (l.d_image) l.d_image[i] = absolute_gradient(difference, p.l1_scale);
  }
  const Sums total = add_over_block(own);
  if (threadIdx.x == 0 && p.sums) p.sums[blockIdx.x] = total;
}

__global__ void __launch_bounds__(kThreads) values_kernel(const __grid_constant__ Problem p) {
  Sums own{};
  for (int i = static_cast<int>(threadIdx.x); i < p.blocks; i += kThreads) {
    own.absolute += p.sums[i].absolute;
    own.similarity += p.sums[i].similarity;
    own.square += p.sums[i].square;
  }
  const Sums total = add_over_block(own);
  if (threadIdx.x != 0) return;
  const ImageLoss& l = p.loss;
  const double samples = fmax(3.0 * l.width * l.height, 1.0), similarity = total.similarity / samples;
  l.values[0] = total.absolute / samples;
  l.values[1] = similarity;
  l.values[2] = total.square / samples;
  l.values[3] = l.l1_weight * l.values[0] + (l.dssim_weight != 0 ? l.dssim_weight * (1 - similarity) : 0.0);
}

Window gaussian_window() {
  double weight[kWindow], sum = 0;
  for (int k = 0; k < kWindow; ++k)
    sum += weight[k] = std::exp(-(k - kRadius) * (k - kRadius) / (2 * 1.5 * 1.5));
  Window window;
  for (int k = 0; k < kWindow; ++k) window.weight[k] = static_cast<float>(weight[k] / sum);
  return window;
}

constexpr int kDifferenceBlocks = 1024;

dim3 similarity_grid(int width, int height) {
  return {static_cast<unsigned>((width + kAcross - 1) / kAcross),
          static_cast<unsigned>((height + kDown - 1) / kDown), 3};
}
size_t sums_bytes(int width, int height) {
  const dim3 grid = similarity_grid(width, height);
  const size_t blocks = std::max<size_t>(size_t{grid.x} * grid.y * grid.z, kDifferenceBlocks);
  return (blocks * sizeof(Sums) + 255) / 256 * 256;
}

}  // namespace

size_t image_loss_workspace_bytes(int width, int height) {
  return sums_bytes(width, height) + size_t{9} * width * height * sizeof(float);
}

void image_loss(const ImageLoss& loss, void* workspace, cudaStream_t stream) {
  const int64_t count = int64_t{3} * loss.width * loss.height;
  const double samples = static_cast<double>(std::max<int64_t>(count, 1));
  Problem p{};
  p.loss = loss;
  p.window = gaussian_window();
  p.with_ssim = count > 0 && (loss.dssim_weight != 0 || loss.want_ssim);
  p.l1_scale = static_cast<float>(loss.l1_weight / samples);
  p.ssim_scale = -loss.dssim_weight / static_cast<float>(count);
  p.sums = static_cast<Sums*>(workspace);
  const bool through_ssim = p.with_ssim && loss.d_image && loss.dssim_weight != 0;
  if (through_ssim) {
    p.d_mean = reinterpret_cast<float*>(static_cast<char*>(workspace) + sums_bytes(loss.width, loss.height));
    p.d_square = p.d_mean + count;
    p.d_cross = p.d_square + count;
  }
  const dim3 grid = similarity_grid(loss.width, loss.height);
  if (p.with_ssim) {
    p.blocks = static_cast<int>(grid.x * grid.y * grid.z);
    similarity_kernel<<<grid, kThreads, 0, stream>>>(p);
  }
  if (through_ssim) gradient_kernel<<<grid, kThreads, 0, stream>>>(p);
  if (!p.with_ssim || (loss.d_image && !through_ssim)) {
    // SSIM's sums stay where they are.
    Problem differences = p;
    if (p.with_ssim) differences.sums = nullptr;
    differences.blocks = kDifferenceBlocks;
    if (!p.with_ssim) p.blocks = kDifferenceBlocks;
    difference_kernel<<<kDifferenceBlocks, kThreads, 0, stream>>>(differences);
  }
  if (loss.values) values_kernel<<<1, kThreads, 0, stream>>>(p);
  check_launch("computing the loss");
}

}  // namespace eg4d::cuda
