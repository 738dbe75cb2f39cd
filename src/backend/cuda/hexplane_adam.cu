// Adam on the hexplane with the regularisers' gradients computed on the way. The differences run down the
// columns of a plane and must see the values before the step, so a thread walks down one column of one
// channel; it asks for several rows ahead while it updates those before, because there are fewer columns than
// a GPU likes to have threads. The longest planes come first, so that the short ones fill what is left.

#include <algorithm>
#include <functional>
#include <numeric>
#include <vector>

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
    int64_t offset;    // floats
    int stride, rows;  // floats from row to row
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
struct Column {
  float *parameters, *gradients, *moments, *seconds;
  int stride, rows;
  __device__ float parameter(int row) const { return row < rows ? parameters[row * stride] : 0; }
  // kWhole: these rows and the two behind them are there.
  template <bool kWhole>
  __device__ Rows load(int first) const {
    Rows r;
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int at = (first + k) * stride;
      const bool there = kWhole || first + k < rows;
      r.after_next[k] = kWhole || first + k + 2 < rows ? parameters[at + 2 * stride] : 0;
      r.gradient[k] = there ? gradients[at] : 0;
      r.moment[k] = there ? moments[at] : 0;
      r.second[k] = there ? seconds[at] : 0;
    }
    return r;
  }
  __device__ Rows load(int first) const {
    return first + kAhead + 2 <= rows ? load<true>(first) : load<false>(first);
  }
};

// The values that differences look at: of this row, the one below, and the second differences above.
struct Neighbours {
  float current, next, one_up, two_up;
};
template <bool kWhole>
__device__ void update(const AdamStep& step, const Planes::Plane& plane, const Column& column, int first,
                       Rows& r, Neighbours& n) {
#pragma unroll
  for (int k = 0; k < kAhead; ++k) {
    const int row = first + k;
    if (!kWhole && row >= column.rows) break;
    const float difference =
        kWhole || row + 2 < column.rows ? fmaf(-2.0f, n.next, n.current + r.after_next[k]) : 0;
    const float fourth = fmaf(-2.0f, n.one_up, difference + n.two_up);
    const float total = r.gradient[k] + fmaf(fourth, plane.smoothness, plane.l1 * sign_of(n.current - 1));
    const int at = row * column.stride;
    if (total != 0 || r.moment[k] != 0 || r.second[k] != 0) {
      float value = n.current;
      adam_update(step, total, value, r.moment[k], r.second[k]);
      column.parameters[at] = value;
      column.moments[at] = r.moment[k];
      column.seconds[at] = r.second[k];
    }
    if (r.gradient[k] != 0) column.gradients[at] = 0;
    n = {n.next, r.after_next[k], difference, n.one_up};
  }
}

__global__ void __launch_bounds__(kThreads)
    hexplane_adam_kernel(Adam a, const __grid_constant__ Planes planes) {
  __shared__ AdamStep shared_step;
  if (threadIdx.x == 0) shared_step = adam_step_of(a, *a.rate);
  __syncthreads();
  const AdamStep step = shared_step;
  int number = 0;
  while (number + 1 < planes.count && blockIdx.x >= planes.planes[number + 1].first_block) ++number;
  const Planes::Plane& plane = planes.planes[number];
  const int place =
      static_cast<int>(blockIdx.x - plane.first_block) * kThreads + static_cast<int>(threadIdx.x);
  if (place >= plane.stride) return;
  const int64_t begin = plane.offset + place;
  const Column column{a.parameter + begin,     a.gradient + begin, a.first_moment + begin,
                      a.second_moment + begin, plane.stride,       plane.rows};
  Neighbours neighbours{column.parameter(0), column.parameter(1), 0, 0};
  Rows ahead = column.load(0);
  for (int first = 0; first < plane.rows; first += kAhead) {
    Rows now = ahead;
    ahead = column.load(first + kAhead);
    if (first + kAhead + 2 <= plane.rows)
      update<true>(step, plane, column, first, now, neighbours);
    else
      update<false>(step, plane, column, first, now, neighbours);
  }
}

}  // namespace

void hexplane_adam(const HexPlaneAdam& a, cudaStream_t stream) {
  const HexPlaneLayout& layout = a.context->description.planes;
  if (layout.levels() > kMostLevels)
    not_on_this_device("the GPU takes a field of at most 8 levels; use --device cpu");
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
    plane.stride = from.columns * layout.channels;
    plane.rows = from.rows;
    if (int64_t{plane.stride} * plane.rows > INT32_MAX / 2)
      not_on_this_device("the GPU takes planes of at most 2^30 floats; use --device cpu");
    plane.first_block = blocks;
    blocks += blocks_for(plane.stride, kThreads);
    const double differences = static_cast<double>(from.rows - 2) * plane.stride,
                 values = static_cast<double>(from.rows) * plane.stride;
    const float smoothness = time ? a.time_smoothness : a.plane_smoothness;
    if (differences > 0) plane.smoothness = static_cast<float>(2 * smoothness * (1.0 / differences));
    if (time && values > 0) plane.l1 = static_cast<float>(a.time_l1 * (1.0 / values));
  }
  if (blocks == 0) return;
  hexplane_adam_kernel<<<blocks, kThreads, 0, stream>>>(a.adam, planes);
  check_launch("updating the field");
}

}  // namespace eg4d::cuda
