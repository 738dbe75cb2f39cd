// Level by level: first, for all points in parallel, the derivatives with respect to the six planes'
// interpolated values and to the coordinates; then, for all planes (in bands of rows) in parallel, their sums
// into the texels, each texel in the order of the points. No atomics, and the same bits whatever the number
// of threads.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/hexplane_backward.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <vector>

#include "backend/cpu/hexplane_order.h"
#include "backend/cpu/hexplane_sampling.h"
#include "backend/cpu/hexplane_texels-inl.h"
#include "backend/cpu/simd-inl.h"
#include "backend/cpu/splat_kernels.h"
#include "backend/cpu/thread_scratch.h"
#include "core/threads.h"

#ifndef EG4D_HEXPLANE_BACKWARD_ONCE
#define EG4D_HEXPLANE_BACKWARD_ONCE
namespace eg4d::cpu {
namespace {

// One level's working set. Points are the active ones: those with a derivative other than zero.
struct LevelBackward {
  const HexPlaneBackward& backward;
  const HexPlane& field;  // its forward
  const HexPlaneLayout& layout;
  int level_index;
  HexPlaneLevel level;
  int64_t count;          // active points, along the curve
  const int32_t* active;  // [count]
  PointSample* samples;   // [count]
  float* d_values;        // [6, count, channels]
  float* d_coordinates;   // [count, 4]; added to
};

}  // namespace
}  // namespace eg4d::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

// Interpolated value and its derivatives along columns and rows, in texels.
template <class V>
struct ValueAndSlopes {
  V value, x, y;
};
template <class D>
HWY_INLINE ValueAndSlopes<hn::Vec<D>> value_and_slopes(D d, const Texels& texels, int64_t c) {
  const auto top_left = hn::LoadU(d, texels.upper + c), bottom_left = hn::LoadU(d, texels.lower + c);
  const auto top_slope = hn::Sub(hn::LoadU(d, texels.upper + texels.right + c), top_left);
  const auto bottom_slope = hn::Sub(hn::LoadU(d, texels.lower + texels.right + c), bottom_left);
  const auto x = hn::Set(d, texels.x), y = hn::Set(d, texels.y);
  const auto top = hn::MulAdd(x, top_slope, top_left);
  const auto slope_y = hn::Sub(hn::MulAdd(x, bottom_slope, bottom_left), top);
  return {hn::MulAdd(y, slope_y, top), hn::MulAdd(y, hn::Sub(bottom_slope, top_slope), top_slope), slope_y};
}

// d_value of every plane is d_feature times the other planes' values. Adds to sums[4][lanes] the derivatives
// with respect to the coordinates, still to be summed over the lanes.
template <class D>
HWY_INLINE void differentiate_product(D d, const LevelBackward& b, const PointTexels& texels,
                                      const PointSample& sample, int64_t i, const float* d_feature, int64_t c,
                                      float* sums) {
  const int64_t lanes = hn::Lanes(d);
  using V = hn::Vec<D>;
  const int channels = b.layout.channels;
  const ValueAndSlopes<V> plane[6] = {
      value_and_slopes(d, texels.plane[0], c), value_and_slopes(d, texels.plane[1], c),
      value_and_slopes(d, texels.plane[2], c), value_and_slopes(d, texels.plane[3], c),
      value_and_slopes(d, texels.plane[4], c), value_and_slopes(d, texels.plane[5], c)};
  V before[6];  // d_feature times the values of the planes before
  before[0] = hn::LoadU(d, d_feature + c);
  HWY_UNROLL(5)
  for (int p = 0; p < 5; ++p) before[p + 1] = hn::Mul(before[p], plane[p].value);
  V after = hn::Set(d, 1.0f);
  V sum[4] = {hn::LoadU(d, sums), hn::LoadU(d, sums + lanes), hn::LoadU(d, sums + 2 * lanes),
              hn::LoadU(d, sums + 3 * lanes)};
  HWY_UNROLL(6)
  for (int p = 5; p >= 0; --p) {
    const V d_value = hn::Mul(before[p], after);
    after = hn::Mul(after, plane[p].value);
    if (b.d_values) hn::StoreU(d_value, d, b.d_values + (p * b.count + i) * channels + c);
    const int first = kHexPlanePairs[p][0], second = kHexPlanePairs[p][1];
    sum[first] = hn::MulAdd(hn::Mul(d_value, hn::Set(d, sample.axis[first].slope)), plane[p].x, sum[first]);
    sum[second] =
        hn::MulAdd(hn::Mul(d_value, hn::Set(d, sample.axis[second].slope)), plane[p].y, sum[second]);
  }
  HWY_UNROLL(4)
  for (int a = 0; a < 4; ++a) hn::StoreU(sum[a], d, sums + a * lanes);
}

void values_chunk(const LevelBackward& b, int64_t begin, int64_t end) {
  const HexPlaneLayout& layout = b.layout;
  const int channels = layout.channels;
  const auto d_feature_of = [&](int64_t i) {
    return b.backward.d_features + (b.active[i] * int64_t{layout.levels()} + b.level_index) * channels;
  };
  for (int64_t i = begin; i < end; ++i)
    b.samples[i] = sample_point(hexplane_coordinates(b.field, b.active[i]), b.level);
  for (int64_t i = begin; i < end; ++i) {
    const PointTexels texels = point_texels(b.field.grid, b.samples[i], b.level, channels);
    const float* d_feature = d_feature_of(i);
    if (i + kPrefetchDistance < end) {
      prefetch_texels(b.field.grid, b.samples[i + kPrefetchDistance], b.level, channels);
      for (int c = 0; c < channels; c += 16) hwy::Prefetch(d_feature_of(i + kPrefetchDistance) + c);
    }
    const hn::ScalableTag<float> whole;
    const hn::CappedTag<float, 4> few;
    const hn::CappedTag<float, 1> one;
    HWY_ALIGN float sums[4 * hn::MaxLanes(whole)] = {}, few_sums[4 * 4] = {}, one_sums[4] = {};
    int64_t c = 0;
    for (; c + static_cast<int64_t>(hn::Lanes(whole)) <= channels; c += hn::Lanes(whole))
      differentiate_product(whole, b, texels, b.samples[i], i, d_feature, c, sums);
    for (; c + static_cast<int64_t>(hn::Lanes(few)) <= channels; c += hn::Lanes(few))
      differentiate_product(few, b, texels, b.samples[i], i, d_feature, c, few_sums);
    for (; c < channels; ++c) differentiate_product(one, b, texels, b.samples[i], i, d_feature, c, one_sums);
    for (int a = 0; a < 4; ++a) {
      const float whole_sum =
          hn::GetLane(hn::SumOfLanes(whole, hn::LoadU(whole, sums + a * hn::Lanes(whole))));
      const float few_sum = hn::GetLane(hn::SumOfLanes(few, hn::LoadU(few, few_sums + a * hn::Lanes(few))));
      b.d_coordinates[i * 4 + a] += whole_sum + few_sum + one_sums[a];
    }
  }
}

// texel += weight·d_value for two neighbours in a row, and the same in the row `down` floats further; all
// loads before the stores, because rows lie a multiple of 4 KiB apart, which a processor takes for the same
// address at first.
HWY_INLINE void add_to_texels(const float* d_value, int channels, float* texel, int64_t right, int64_t down,
                              float x, float upper, float lower) {
  for_lanes(channels, [&](auto d, int64_t c) HWY_ATTR {
    const auto value = hn::LoadU(d, d_value + c);
    const auto value_right = hn::Mul(value, hn::Set(d, x)), value_left = hn::Sub(value, value_right);
    float *at = texel + c, *below = texel + down + c;
    const auto upper_left = hn::MulAdd(value_left, hn::Set(d, upper), hn::LoadU(d, at));
    const auto upper_right = hn::MulAdd(value_right, hn::Set(d, upper), hn::LoadU(d, at + right));
    if (down == 0) {
      hn::StoreU(upper_left, d, at);
      if (right > 0) hn::StoreU(upper_right, d, at + right);
      return;
    }
    const auto lower_left = hn::MulAdd(value_left, hn::Set(d, lower), hn::LoadU(d, below));
    const auto lower_right = hn::MulAdd(value_right, hn::Set(d, lower), hn::LoadU(d, below + right));
    hn::StoreU(upper_left, d, at);
    if (right > 0) hn::StoreU(upper_right, d, at + right);
    hn::StoreU(lower_left, d, below);
    if (right > 0) hn::StoreU(lower_right, d, below + right);
  });
}

// Adds the points' derivatives to those texels of plane p that lie in rows [row_begin, row_end).
void scatter_rows(const LevelBackward& b, int p, int64_t row_begin, int64_t row_end) {
  const int channels = b.layout.channels;
  const HexPlaneLevel::Plane& plane = b.level.planes[p];
  const int x_axis = kHexPlanePairs[p][0], y_axis = kHexPlanePairs[p][1];
  for (int64_t i = 0; i < b.count; ++i) {
    const AxisSample &x = b.samples[i].axis[x_axis], &y = b.samples[i].axis[y_axis];
    const bool upper = y.low >= row_begin && y.low < row_end;
    const bool lower = plane.down > 0 && y.low + 1 >= row_begin && y.low + 1 < row_end;
    if (!upper && !lower) continue;
    const float* d_value = b.d_values + (p * b.count + i) * channels;
    float* texel = b.backward.d_grid + texel_offset(b.samples[i], b.level, channels, p);
    if (upper) {
      add_to_texels(d_value, channels, texel, plane.right, lower ? plane.down : 0, x.weight, 1 - y.weight,
                    y.weight);
    } else {
      add_to_texels(d_value, channels, texel + plane.down, plane.right, 0, x.weight, y.weight, 0);
    }
  }
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(values_chunk);
HWY_EXPORT(scatter_rows);

namespace {

enum ScratchUse { kActive, kSpare, kSamples, kValues, kCoordinates };

// Points whose features have a derivative; Gaussians that no pixel saw have none.
int64_t active_points(const HexPlaneBackward& backward, int32_t* active) {
  const int64_t width = layout_of(backward.forward).feature_width();
  int64_t count = 0;
  for (int64_t point = 0; point < backward.forward.count; ++point) {
    const float* d = backward.d_features + point * width;
    if (std::any_of(d, d + width, [](float v) { return !(v == 0); }))
      active[count++] = static_cast<int32_t>(point);
  }
  return count;
}

void scatter(const LevelBackward& b) {
  // Planes with time are touched in few rows when all points share the time: one task each.
  constexpr int kBands = 4;
  struct Task {
    int plane;
    int64_t begin, end;
  };
  std::vector<Task> tasks;
  for (int p = 0; p < 6; ++p) {
    const int64_t rows = b.layout.planes[static_cast<size_t>(b.level_index) * 6 + p].rows;
    const int64_t bands = is_time_plane(p) ? 1 : kBands;
    for (int64_t band = 0; band < bands; ++band)
      tasks.push_back({p, rows * band / bands, rows * (band + 1) / bands});
  }
  parallel_for(static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t) {
    const Task& task = tasks[static_cast<size_t>(begin)];
    HWY_DYNAMIC_DISPATCH(scatter_rows)(b, task.plane, task.begin, task.end);
  });
}

// u = (p - box[0])·f - 1 with f = 2/(box[1]-box[0]): du/dbox[0] = -f + (p-box[0])·f²/2, du/dbox[1] =
// -(p-box[0])·f²/2.
void coordinate_gradients(const HexPlaneBackward& backward, const int32_t* active, int64_t count,
                          const float* d_coordinates) {
  const HexPlane& field = backward.forward;
  double d_box[6] = {};
  for (int64_t i = 0; i < count; ++i) {
    const int64_t point = active[i];
    for (int a = 0; a < 3; ++a) {
      const double factor = 2.0 / (static_cast<double>(field.box[3 + a]) - field.box[a]);
      const double distance = static_cast<double>(field.points[point * 3 + a]) - field.box[a];
      const double d = d_coordinates[i * 4 + a];
      if (backward.d_points) backward.d_points[point * 3 + a] += static_cast<float>(d * factor);
      d_box[a] += d * (distance * factor * factor / 2 - factor);
      d_box[3 + a] -= d * distance * factor * factor / 2;
    }
  }
  for (int i = 0; i < 6 && backward.d_box; ++i) backward.d_box[i] += static_cast<float>(d_box[i]);
}

}  // namespace

void hexplane_backward(const HexPlaneBackward& backward) {
  const HexPlane& field = backward.forward;
  const HexPlaneLayout& layout = layout_of(field);
  int32_t* active = scratch<int32_t>(kActive, field.count);
  const int64_t count = active_points(backward, active);
  sort_along_curve(field, count, active, scratch<int32_t>(kSpare, count));
  float* d_coordinates = scratch(kCoordinates, count * 4);
  std::fill_n(d_coordinates, count * 4, 0.0f);
  PointSample* samples = scratch<PointSample>(kSamples, count);
  float* d_values = backward.d_grid ? scratch(kValues, 6 * count * layout.channels) : nullptr;
  for (int level = 0; level < layout.levels(); ++level) {
    const LevelBackward work{.backward = backward,
                             .field = field,
                             .layout = layout,
                             .level_index = level,
                             .level = hexplane_level(layout, level),
                             .count = count,
                             .active = active,
                             .samples = samples,
                             .d_values = d_values,
                             .d_coordinates = d_coordinates};
    parallel_for(count, kHexPlaneChunk, [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(values_chunk)(work, begin, end);
    });
    if (backward.d_grid) scatter(work);
  }
  coordinate_gradients(backward, active, count, d_coordinates);
}

}  // namespace eg4d::cpu
#endif
