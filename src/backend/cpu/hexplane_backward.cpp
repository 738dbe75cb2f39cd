// Level by level: first, for all points in parallel, the derivatives with respect to the six planes'
// interpolated values and to the coordinates; then, for all planes (in bands) in parallel, their sums
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
#include "backend/cpu/ordering.h"
#include "backend/cpu/simd-inl.h"
#include "backend/cpu/splat_kernels.h"
#include "backend/cpu/thread_scratch.h"
#include "core/threads.h"

#ifndef EG4D_HEXPLANE_BACKWARD_ONCE
#define EG4D_HEXPLANE_BACKWARD_ONCE
namespace eg4d::cpu {
namespace {

// Which texels of the four axes are the lower neighbours of some points that follow one another along the
// curve: what lies elsewhere need not look at them.
constexpr int64_t kBlock = 64;
static_assert(kHexPlaneChunk % kBlock == 0);
struct Block {
  int lowest[4], highest[4];
};

// A part of a plane: its texels in these rows and columns.
struct Band {
  int plane;
  int64_t row_begin, row_end, column_begin, column_end;

  bool has_row(int64_t row) const { return row >= row_begin && row < row_end; }
  bool has_column(int64_t column) const { return column >= column_begin && column < column_end; }
  // Whether points of the block can have texels here.
  bool may_have(const Block& block) const {
    const int x = kHexPlanePairs[plane][0], y = kHexPlanePairs[plane][1];
    return block.lowest[y] < row_end && block.highest[y] + 1 >= row_begin && block.lowest[x] < column_end &&
           block.highest[x] + 1 >= column_begin;
  }
};

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
  Block* blocks;          // [⌈count/kBlock⌉]
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

Block block_of(const PointSample* samples, int64_t count) {
  Block block;
  for (int a = 0; a < 4; ++a) {
    block.lowest[a] = block.highest[a] = samples[0].axis[a].low;
    for (int64_t i = 1; i < count; ++i) {
      block.lowest[a] = std::min(block.lowest[a], samples[i].axis[a].low);
      block.highest[a] = std::max(block.highest[a], samples[i].axis[a].low);
    }
  }
  return block;
}

void values_chunk(const LevelBackward& b, int64_t begin, int64_t end) {
  const HexPlaneLayout& layout = b.layout;
  const int channels = layout.channels;
  const auto d_feature_of = [&](int64_t i) {
    return b.backward.d_features + (b.active[i] * int64_t{layout.levels()} + b.level_index) * channels;
  };
  for (int64_t i = begin; i < end; ++i)
    b.samples[i] = sample_point(hexplane_coordinates(b.field, b.active[i]), b.level);
  for (int64_t i = begin; i < end; i += kBlock)
    b.blocks[i / kBlock] = block_of(b.samples + i, std::min(kBlock, end - i));
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
// address at first. With right = 0 for one of the two alone: the left one, or the right one.
template <bool kLeft = true>
HWY_INLINE void add_to_texels(const float* d_value, int channels, float* texel, int64_t right, int64_t down,
                              float x, float upper, float lower) {
  for_lanes(channels, [&](auto d, int64_t c) HWY_ATTR {
    const auto value = hn::LoadU(d, d_value + c);
    const auto value_right = hn::Mul(value, hn::Set(d, x));
    const auto value_left = kLeft ? hn::Sub(value, value_right) : value_right;
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

// Adds the derivatives of points [begin, end) to those of their texels that lie in the band.
void scatter_points(const LevelBackward& b, const Band& band, int64_t begin, int64_t end) {
  const int channels = b.layout.channels, p = band.plane;
  const HexPlaneLevel::Plane& plane = b.level.planes[p];
  const int x_axis = kHexPlanePairs[p][0], y_axis = kHexPlanePairs[p][1];
  for (int64_t i = begin; i < end; ++i) {
    const AxisSample &x = b.samples[i].axis[x_axis], &y = b.samples[i].axis[y_axis];
    const bool upper = band.has_row(y.low), lower = plane.down > 0 && band.has_row(y.low + 1);
    const bool left = band.has_column(x.low), right = plane.right > 0 && band.has_column(x.low + 1);
    if (!(upper || lower) || !(left || right)) continue;
    const float* d_value = b.d_values + (p * b.count + i) * channels;
    float* texel = b.backward.d_grid + texel_offset(b.samples[i], b.level, channels, p) +
                   (upper ? 0 : plane.down) + (left ? 0 : plane.right);
    const int64_t to_right = left && right ? plane.right : 0, to_lower = upper && lower ? plane.down : 0;
    const float first = upper ? 1 - y.weight : y.weight;
    if (left)
      add_to_texels(d_value, channels, texel, to_right, to_lower, x.weight, first, y.weight);
    else
      add_to_texels<false>(d_value, channels, texel, to_right, to_lower, x.weight, first, y.weight);
  }
}

void scatter_band(const LevelBackward& b, const Band& band) {
  for (int64_t begin = 0; begin < b.count; begin += kBlock)
    if (band.may_have(b.blocks[begin / kBlock]))
      scatter_points(b, band, begin, std::min(b.count, begin + kBlock));
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(values_chunk);
HWY_EXPORT(scatter_band);

namespace {

enum ScratchUse { kActive, kBlocks, kSamples, kValues, kCoordinates };

// Points whose features have a derivative; Gaussians that no pixel saw have none.
int64_t active_points(const HexPlaneBackward& backward, int32_t* active) {
  const int64_t width = layout_of(backward.forward).feature_width();
  return select_indices(backward.forward.count, active, [&](int64_t point) {
    const float* d = backward.d_features + point * width;
    return std::any_of(d, d + width, [](float v) { return !(v == 0); });
  });
}

// Planes with time are touched in few rows when all points share the time: their bands are of columns. A
// texel's sum does not depend on the bands, so there may be as many as the threads need.
std::vector<Band> bands_of(const HexPlaneLayout& layout, int level) {
  const int bands = thread_count() > 4 ? 8 : thread_count();
  std::vector<Band> all;
  for (int p = 0; p < 6; ++p) {
    const HexPlaneLayout::Plane& plane = layout.planes[static_cast<size_t>(level) * 6 + p];
    const int64_t rows = plane.rows, columns = plane.columns;
    for (int64_t i = 0; i < bands; ++i)
      all.push_back(is_time_plane(p) ? Band{p, 0, rows, columns * i / bands, columns * (i + 1) / bands}
                                     : Band{p, rows * i / bands, rows * (i + 1) / bands, 0, columns});
  }
  return all;
}

void scatter(const LevelBackward& b) {
  const std::vector<Band> bands = bands_of(b.layout, b.level_index);
  parallel_for(static_cast<int64_t>(bands.size()), 1, [&](int64_t i, int64_t) {
    HWY_DYNAMIC_DISPATCH(scatter_band)(b, bands[static_cast<size_t>(i)]);
  });
}

// u = (p - box[0])·f - 1 with f = 2/(box[1]-box[0]): du/dbox[0] = -f + (p-box[0])·f²/2, du/dbox[1] =
// -(p-box[0])·f²/2.
// The two sums of an axis, in the order of the points.
void box_gradient(const HexPlaneBackward& backward, const int32_t* active, int64_t count,
                  const float* d_coordinates, int axis) {
  const HexPlane& field = backward.forward;
  const double factor = 2.0 / (static_cast<double>(field.box[3 + axis]) - field.box[axis]);
  double lower = 0, upper = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double distance = static_cast<double>(field.points[active[i] * 3 + axis]) - field.box[axis];
    const double d = d_coordinates[i * 4 + axis];
    lower += d * (distance * factor * factor / 2 - factor);
    upper -= d * distance * factor * factor / 2;
  }
  backward.d_box[axis] += static_cast<float>(lower);
  backward.d_box[3 + axis] += static_cast<float>(upper);
}

void point_gradients(const HexPlaneBackward& backward, const int32_t* active, const float* d_coordinates,
                     int64_t begin, int64_t end) {
  if (!backward.d_points) return;
  const HexPlane& field = backward.forward;
  double factor[3];
  for (int a = 0; a < 3; ++a) factor[a] = 2.0 / (static_cast<double>(field.box[3 + a]) - field.box[a]);
  for (int64_t i = begin; i < end; ++i)
    for (int a = 0; a < 3; ++a)
      backward.d_points[active[i] * 3 + a] += static_cast<float>(d_coordinates[i * 4 + a] * factor[a]);
}

void coordinate_gradients(const HexPlaneBackward& backward, const int32_t* active, int64_t count,
                          const float* d_coordinates) {
  constexpr int64_t kAxes = 3, kGrain = 1024;
  // The three long tasks first.
  parallel_for(kAxes + (count + kGrain - 1) / kGrain, 1, [&](int64_t task, int64_t) {
    const int64_t begin = (task - kAxes) * kGrain;
    if (begin >= 0)
      point_gradients(backward, active, d_coordinates, begin, std::min(count, begin + kGrain));
    else if (backward.d_box)
      box_gradient(backward, active, count, d_coordinates, static_cast<int>(task));
  });
}

}  // namespace

void hexplane_backward(const HexPlaneBackward& backward) {
  const HexPlane& field = backward.forward;
  const HexPlaneLayout& layout = layout_of(field);
  int32_t* active = scratch<int32_t>(kActive, field.count);
  const int64_t count = active_points(backward, active);
  sort_along_curve(field, count, active);
  float* d_coordinates = scratch(kCoordinates, count * 4);
  std::fill_n(d_coordinates, count * 4, 0.0f);
  PointSample* samples = scratch<PointSample>(kSamples, count);
  Block* blocks = scratch<Block>(kBlocks, (count + kBlock - 1) / kBlock);
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
                             .d_coordinates = d_coordinates,
                             .blocks = blocks};
    parallel_for(count, kHexPlaneChunk, [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(values_chunk)(work, begin, end);
    });
    if (backward.d_grid) scatter(work);
  }
  coordinate_gradients(backward, active, count, d_coordinates);
}

}  // namespace eg4d::cpu
#endif
