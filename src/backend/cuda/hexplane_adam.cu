// Adam on the hexplane with the regularisers' gradients computed on the way. The differences run down the
// columns of a plane and must see the values before the step, so a thread walks down one column of one
// channel; it asks for several rows ahead while it updates those before, because there are fewer columns than
// a GPU likes to have threads. The longest planes come first, so that the short ones fill what is left.

#include <algorithm>
#include <functional>
#include <numeric>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/adam_step.cuh"
#include "backend/cuda/check.h"
#include "backend/cuda/gaussian_rows.cuh"
#include "backend/cuda/hexplane.cuh"
#include "backend/cuda/splat_kernels.h"

namespace eg4d::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kAhead = 8;  // rows

struct Planes {
  struct Plane {
    int64_t offset, stride;  // floats; from row to row
    int rows;
    uint32_t first_block;
    // d(weighted regulariser)/d(value) = smoothness·(e[r] - 2·e[r-1] + e[r-2]) + l1·sign(value-1), with the
    // second differences e[r] = p[r] - 2·p[r+1] + p[r+2].
    float smoothness, l1;
  } planes[kMostLevels * 6];
  int count;
};

__device__ float sign_of(float x) {
  return x > 0 ? 1.0f : x < 0 ? -1.0f : 0.0f;
}

// Some rows of a column, and the parameters two rows below each.
struct Rows {
  float after_next[kAhead], gradient[kAhead], moment[kAhead], second[kAhead];
};
struct Walk {
  const Adam& a;
  int64_t begin, stride;
  int rows;
  __device__ int64_t at(int row) const { return begin + row * stride; }
  __device__ float parameter(int row) const { return row < rows ? a.parameter[at(row)] : 0; }
  __device__ Rows load(int first) const {
    Rows r;
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const bool there = first + k < rows;
      r.after_next[k] = parameter(first + k + 2);
      r.gradient[k] = there ? a.gradient[at(first + k)] : 0;
      r.moment[k] = there ? a.first_moment[at(first + k)] : 0;
      r.second[k] = there ? a.second_moment[at(first + k)] : 0;
    }
    return r;
  }
};

__global__ void __launch_bounds__(kThreads)
    hexplane_adam_kernel(Adam a, const __grid_constant__ Planes planes) {
  __shared__ AdamStep shared_step;
  if (threadIdx.x == 0) shared_step = adam_step_of(a, *a.rate);
  __syncthreads();
  const AdamStep step = shared_step;
  int number = 0;
  while (number + 1 < planes.count && blockIdx.x >= planes.planes[number + 1].first_block) ++number;
  const Planes::Plane& plane = planes.planes[number];
  const int64_t column = int64_t{blockIdx.x - plane.first_block} * kThreads + threadIdx.x;
  if (column >= plane.stride) return;
  const Walk walk{a, plane.offset + column, plane.stride, plane.rows};
  float current = walk.parameter(0), next = walk.parameter(1), one_up = 0, two_up = 0;
  Rows ahead = walk.load(0);
  for (int first = 0; first < plane.rows; first += kAhead) {
    Rows now = ahead;
    ahead = walk.load(first + kAhead);
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int row = first + k;
      if (row >= plane.rows) break;
      const float after_next = now.after_next[k];
      const float difference = row + 2 < plane.rows ? fmaf(-2.0f, next, current + after_next) : 0;
      const float fourth = fmaf(-2.0f, one_up, difference + two_up);
      const float total = now.gradient[k] + fmaf(fourth, plane.smoothness, plane.l1 * sign_of(current - 1));
      if (total != 0 || now.moment[k] != 0 || now.second[k] != 0) {
        float value = current;
        adam_update(step, total, value, now.moment[k], now.second[k]);
        const int64_t at = walk.at(row);
        a.parameter[at] = value;
        a.first_moment[at] = now.moment[k];
        a.second_moment[at] = now.second[k];
      }
      if (now.gradient[k] != 0) a.gradient[walk.at(row)] = 0;
      two_up = one_up;
      one_up = difference;
      current = next;
      next = after_next;
    }
  }
}

}  // namespace

void hexplane_adam(const HexPlaneAdam& a, cudaStream_t stream) {
  const HexPlaneLayout& layout = a.context->description.planes;
  if (layout.levels() > kMostLevels)
    throw NotOnThisDevice("the GPU takes a field of at most 8 levels; use --device cpu");
  Planes planes{};
  uint32_t blocks = 0;
  std::vector<size_t> order(layout.planes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](size_t i) { return layout.planes[i].rows; });
  for (const size_t i : order) {
    const HexPlaneLayout::Plane& from = layout.planes[i];
    const bool time = second_axis(static_cast<int>(i % 6)) == 3;
    Planes::Plane& plane = planes.planes[planes.count++];
    plane.offset = from.offset;
    plane.stride = int64_t{from.columns} * layout.channels;
    plane.rows = from.rows;
    plane.first_block = blocks;
    blocks += blocks_for(plane.stride, kThreads);
    const double differences = static_cast<double>((from.rows - 2) * plane.stride),
                 values = static_cast<double>(from.rows * plane.stride);
    const float smoothness = time ? a.time_smoothness : a.plane_smoothness;
    if (differences > 0) plane.smoothness = static_cast<float>(2 * smoothness * (1.0 / differences));
    if (time && values > 0) plane.l1 = static_cast<float>(a.time_l1 * (1.0 / values));
  }
  if (blocks == 0) return;
  hexplane_adam_kernel<<<blocks, kThreads, 0, stream>>>(a.adam, planes);
  check_launch("updating the field");
}

}  // namespace eg4d::cuda
