// Density control: the decisions of the CPU, bit for bit. Compiled without contraction
// (core/portable_math.h).

#include "backend/cuda/check.h"
#include "backend/cuda/gaussian_rows.cuh"
#include "backend/cuda/splat_kernels.h"
#include "backend/density_rule.h"
#include "core/portable_math.h"
#include "random/random.h"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 256;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ int64_t own_index() {
  return int64_t{blockIdx.x} * kThreads + threadIdx.x;
}

__global__ void __launch_bounds__(kThreads) statistics_kernel(DensityStatistics s) {
  const int64_t i = own_index();
  if (i >= s.count || s.radii[i] <= 0) return;
  const float x = s.d_means_ndc[i * 2], y = s.d_means_ndc[i * 2 + 1];
  s.gradient_sum[i] += sqrtf(x * x + y * y);
  s.views[i] += 1;
  const float radius = static_cast<float>(s.radii[i]);
  if (s.max_radii[i] < radius) s.max_radii[i] = radius;
}

__global__ void __launch_bounds__(kThreads) decide_kernel(DecideDensity a) {
  const int64_t i = own_index();
  if (i < a.count) a.fates[i] = density_fate(a, i);
}

// ---------------------------------------------------------------- rows

// Of one fate each, as in DensityRows::totals.
struct Counts {
  int32_t of[3];
};
__device__ uint8_t fate_of(int k) {
  return k == 0 ? kDensityKept : k == 1 ? kDensityCloned : kDensitySplit;
}

// Counts by block.
__global__ void __launch_bounds__(kThreads) count_kernel(DensityRows a, Counts* found) {
  const int64_t i = own_index();
  const uint8_t fate = i < a.count ? a.fates[i] : 0;
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    const int total = __syncthreads_count((fate & fate_of(k)) != 0);
    if (threadIdx.x == 0) found[blockIdx.x].of[k] = total;
  }
}

// One block: counts become what was found in the blocks before; then the totals.
constexpr int kScanThreads = 1024;
__global__ void __launch_bounds__(kScanThreads) scan_kernel(DensityRows a, Counts* found, int blocks) {
  __shared__ int32_t warp_ends[kScanThreads / 32];
  __shared__ int32_t before;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int32_t totals[3];
  for (int k = 0; k < 3; ++k) {
    if (threadIdx.x == 0) before = 0;
    for (int first = 0; first < blocks; first += kScanThreads) {
      const int block = first + static_cast<int>(threadIdx.x);
      const int32_t own = block < blocks ? found[block].of[k] : 0;
      int32_t end = own;
      for (int step = 1; step < 32; step *= 2) {
        const int32_t other = __shfl_up_sync(kAllLanes, end, step);
        if (lane >= step) end += other;
      }
      if (lane == 31) warp_ends[warp] = end;
      __syncthreads();
      int32_t start = before;
      for (int other = 0; other < warp; ++other) start += warp_ends[other];
      if (block < blocks) found[block].of[k] = start + end - own;
      __syncthreads();
      if (threadIdx.x == kScanThreads - 1) before = start + end;
      __syncthreads();
    }
    totals[k] = before;
    __syncthreads();
  }
  if (threadIdx.x != 0) return;
  if (totals[0] == 0 && totals[1] == 0 && totals[2] == 0) {  // nothing is left: the first is kept
    totals[0] = 1;
    a.rows[0] = 0;
  }
  for (int k = 0; k < 3; ++k) a.totals[k] = totals[k];
}

__global__ void __launch_bounds__(kThreads) rows_kernel(DensityRows a, const Counts* before) {
  __shared__ int32_t warp_counts[kThreads / 32];
  const int64_t i = own_index();
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const uint8_t fate = i < a.count ? a.fates[i] : 0;
  const int32_t kept = a.totals[0], cloned = a.totals[1], split = a.totals[2];
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    const bool mine = (fate & fate_of(k)) != 0;
    const unsigned lanes = __ballot_sync(kAllLanes, mine);
    if (lane == 0) warp_counts[warp] = __popc(lanes);
    __syncthreads();
    int32_t at = before[blockIdx.x].of[k] + __popc(lanes & ((1u << lane) - 1));
    for (int other = 0; other < warp; ++other) at += warp_counts[other];
    if (mine) {
      const int32_t row = static_cast<int32_t>(i);
      if (k == 0) a.rows[at] = row;
      if (k == 1) a.rows[kept + at] = row;
      if (k == 2) a.rows[kept + cloned + at] = a.rows[kept + cloned + split + at] = row;
    }
    __syncthreads();
  }
}

// ---------------------------------------------------------------- splits

// Philox::normals.
__device__ void normals(uint64_t seed, uint64_t stream, uint64_t counter, float out[4]) {
  uint32_t words[4];
  Philox::block(seed, stream, counter, words);
  for (int i = 0; i < 4; i += 2) {
    const double uniform = (static_cast<double>(words[i]) + 1.0) * 0x1p-32;  // (0, 1]
    const double radius = sqrt(-2.0 * portable::log(uniform));
    const portable::SinCos direction = portable::sin_cos_of_turn(words[i + 1]);
    out[i] = static_cast<float>(radius * direction.cos);
    out[i + 1] = static_cast<float>(radius * direction.sin);
  }
}

__global__ void __launch_bounds__(kThreads) noise_kernel(SplitNoise a) {
  const int64_t i = own_index();
  if (i >= 2 * a.count) return;
  const int64_t part = i / a.count;
  float four[4];
  normals(a.seed, a.stream, static_cast<uint64_t>(2 * int64_t{a.rows[i % a.count]} + part), four);
  for (int k = 0; k < 3; ++k) a.normals[3 * i + k] = four[k];
}

// R(q)·v with q = w,x,y,z, normalised here.
__device__ void rotate(const float* quaternion, const double (&v)[3], double (&turned)[3]) {
  double q[4];
  for (int i = 0; i < 4; ++i) q[i] = static_cast<double>(quaternion[i]);
  const double length = sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  const double norm = length < 1e-12 ? 1e-12 : length;  // as std::max does it: NaN stays
  const double w = q[0] / norm, x = q[1] / norm, y = q[2] / norm, z = q[3] / norm;
  turned[0] = (1 - 2 * (y * y + z * z)) * v[0] + 2 * (x * y - w * z) * v[1] + 2 * (x * z + w * y) * v[2];
  turned[1] = 2 * (x * y + w * z) * v[0] + (1 - 2 * (x * x + z * z)) * v[1] + 2 * (y * z - w * x) * v[2];
  turned[2] = 2 * (x * z - w * y) * v[0] + 2 * (y * z + w * x) * v[1] + (1 - 2 * (x * x + y * y)) * v[2];
}

__global__ void __launch_bounds__(kThreads) split_kernel(SplitGaussians a) {
  const int64_t i = own_index();
  if (i >= a.count) return;
  float* position = a.positions + 3 * i;
  float* log_scale = a.log_scales + 3 * i;
  double sample[3], offset[3];
  for (int axis = 0; axis < 3; ++axis)
    sample[axis] =
        portable::exp(static_cast<double>(log_scale[axis])) * static_cast<double>(a.normals[3 * i + axis]);
  rotate(a.quaternions + 4 * i, sample, offset);
  float place[3];
  for (int axis = 0; axis < 3; ++axis)
    place[axis] = static_cast<float>(static_cast<double>(position[axis]) + offset[axis]);
  if (density_all_finite(place, 3))
    for (int axis = 0; axis < 3; ++axis) position[axis] = place[axis];
  for (int axis = 0; axis < 3; ++axis) log_scale[axis] -= kSplitLogScale;
}

}  // namespace

void density_statistics(const DensityStatistics& s, cudaStream_t stream) {
  if (s.count == 0) return;
  statistics_kernel<<<blocks_for(s.count, kThreads), kThreads, 0, stream>>>(s);
  check_launch("collecting statistics");
}

void decide_density(const DecideDensity& a, cudaStream_t stream) {
  if (a.count == 0) return;
  decide_kernel<<<blocks_for(a.count, kThreads), kThreads, 0, stream>>>(a);
  check_launch("deciding on Gaussians");
}

size_t density_rows_workspace_bytes(int64_t count) {
  return blocks_for(count, kThreads) * sizeof(Counts);
}

void density_rows(const DensityRows& a, void* workspace, cudaStream_t stream) {
  if (a.count == 0) {
    check(cudaMemsetAsync(a.totals, 0, 3 * sizeof(int32_t), stream), "listing Gaussians");
    return;
  }
  const unsigned blocks = blocks_for(a.count, kThreads);
  Counts* const counts = static_cast<Counts*>(workspace);
  count_kernel<<<blocks, kThreads, 0, stream>>>(a, counts);
  scan_kernel<<<1, kScanThreads, 0, stream>>>(a, counts, static_cast<int>(blocks));
  rows_kernel<<<blocks, kThreads, 0, stream>>>(a, counts);
  check_launch("listing Gaussians");
}

void split_noise(const SplitNoise& a, cudaStream_t stream) {
  if (a.count == 0) return;
  noise_kernel<<<blocks_for(2 * a.count, kThreads), kThreads, 0, stream>>>(a);
  check_launch("drawing noise");
}

void split_gaussians(const SplitGaussians& a, cudaStream_t stream) {
  if (a.count == 0) return;
  split_kernel<<<blocks_for(a.count, kThreads), kThreads, 0, stream>>>(a);
  check_launch("splitting Gaussians");
}

}  // namespace eg4d::cuda
