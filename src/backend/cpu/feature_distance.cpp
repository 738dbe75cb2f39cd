#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/cpu/neural_kernels.h"
#include "core/threads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/feature_distance.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"
//
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

void ScaleRows(const ScaleChannels& a, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const float* x = a.x.f32() + r * a.channels;
    float* y = a.y.f32() + r * a.channels;
    for_lanes(a.channels, [&](auto d, int64_t c) HWY_ATTR {
      hn::StoreU(hn::MulAdd(hn::LoadU(d, x + c), hn::LoadU(d, a.scale + c), hn::LoadU(d, a.shift + c)), d,
                 y + c);
    });
  }
}

void ScaleBackwardRows(const ScaleChannelsBackward& a, int64_t begin, int64_t end) {
  const int64_t channels = a.forward.channels;
  for (int64_t r = begin; r < end; ++r) {
    const float* d_y = a.d_y + r * channels;
    float* d_x = a.d_x + r * channels;
    for_lanes(channels, [&](auto d, int64_t c) HWY_ATTR {
      hn::StoreU(hn::MulAdd(hn::LoadU(d, d_y + c), hn::LoadU(d, a.forward.scale + c), hn::LoadU(d, d_x + c)),
                 d, d_x + c);
    });
  }
}

// Σ_c of what body(tag, channel) returns.
template <class Body>
HWY_INLINE float channel_sum(int64_t channels, const Body& body) {
  const hn::ScalableTag<float> whole;
  auto lanes = hn::Zero(whole);
  float rest = 0;
  for_lanes(channels, [&](auto d, int64_t c) HWY_ATTR {
    const auto value = body(d, c);
    if constexpr (std::is_same_v<decltype(d), hn::ScalableTag<float>>)
      lanes = hn::Add(lanes, value);
    else
      rest += hn::GetLane(hn::SumOfLanes(d, value));
  });
  return hn::GetLane(hn::SumOfLanes(whole, lanes)) + rest;
}

HWY_INLINE float norm(const float* x, int64_t channels) {
  return std::sqrt(channel_sum(channels, [&](auto d, int64_t c) HWY_ATTR {
    const auto value = hn::LoadU(d, x + c);
    return hn::Mul(value, value);
  }));
}

double DistanceOfRows(const FeatureDistance& a, int64_t begin, int64_t end) {
  double sum = 0;
  for (int64_t r = begin; r < end; ++r) {
    const float *u = a.a + r * a.channels, *v = a.b + r * a.channels;
    const float u_gain = 1 / (norm(u, a.channels) + a.epsilon),
                v_gain = 1 / (norm(v, a.channels) + a.epsilon);
    sum += channel_sum(a.channels, [&](auto d, int64_t c) HWY_ATTR {
      const auto difference = hn::Sub(hn::Mul(hn::LoadU(d, u + c), hn::Set(d, u_gain)),
                                      hn::Mul(hn::LoadU(d, v + c), hn::Set(d, v_gain)));
      return hn::Mul(hn::Mul(difference, difference), hn::LoadU(d, a.weight + c));
    });
  }
  return sum;
}

// With n = ‖a‖ + ε and g = 2·factor·w·(â - b̂): d_a += g / n - a·(g·a) / (n²·‖a‖).
void DistanceBackwardRows(const FeatureDistanceBackward& backward, float factor, int64_t begin, int64_t end) {
  const FeatureDistance& a = backward.forward;
  for (int64_t r = begin; r < end; ++r) {
    const float *u = a.a + r * a.channels, *v = a.b + r * a.channels;
    const float length = norm(u, a.channels);
    if (length == 0) continue;
    const float u_gain = 1 / (length + a.epsilon), v_gain = 1 / (norm(v, a.channels) + a.epsilon);
    auto slope = [&](auto d, int64_t c) HWY_ATTR {
      const auto difference = hn::Sub(hn::Mul(hn::LoadU(d, u + c), hn::Set(d, u_gain)),
                                      hn::Mul(hn::LoadU(d, v + c), hn::Set(d, v_gain)));
      return hn::Mul(hn::Mul(difference, hn::LoadU(d, a.weight + c)), hn::Set(d, 2 * factor));
    };
    const float along = channel_sum(
        a.channels, [&](auto d, int64_t c) HWY_ATTR { return hn::Mul(slope(d, c), hn::LoadU(d, u + c)); });
    const float radial = along * u_gain * u_gain / length;
    float* d_a = backward.d_a + r * a.channels;
    for_lanes(a.channels, [&](auto d, int64_t c) HWY_ATTR {
      const auto tangent = hn::MulAdd(slope(d, c), hn::Set(d, u_gain), hn::LoadU(d, d_a + c));
      hn::StoreU(hn::NegMulAdd(hn::LoadU(d, u + c), hn::Set(d, radial), tangent), d, d_a + c);
    });
  }
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(ScaleRows);
HWY_EXPORT(ScaleBackwardRows);
HWY_EXPORT(DistanceOfRows);
HWY_EXPORT(DistanceBackwardRows);

namespace {
constexpr int64_t kGrain = 1 << 15;  // floats per parallel chunk
int64_t rows_per_chunk(int64_t channels) {
  return std::max<int64_t>(kGrain / std::max<int64_t>(channels, 1), 1);
}
}  // namespace

namespace {

// Few channels fill no vector: so many pixels are taken as one of many channels.
constexpr int64_t kPixelsTogether = 16;

std::vector<float> repeated(const float* values, int64_t channels) {
  std::vector<float> result;
  for (int64_t i = 0; i < kPixelsTogether; ++i) result.insert(result.end(), values, values + channels);
  return result;
}

}  // namespace

void scale_channels(const ScaleChannels& a) {
  if (a.channels < kPixelsTogether && a.rows >= kPixelsTogether) {
    const std::vector<float> scale = repeated(a.scale, a.channels), shift = repeated(a.shift, a.channels);
    const int64_t together = a.rows / kPixelsTogether, done = together * kPixelsTogether;
    scale_channels({together, kPixelsTogether * a.channels, a.x, scale.data(), shift.data(), a.y});
    scale_channels(
        {a.rows - done, a.channels, a.x.at(done * a.channels), a.scale, a.shift, a.y.at(done * a.channels)});
    return;
  }
  parallel_for(a.rows, rows_per_chunk(a.channels), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ScaleRows)(a, begin, end);
  });
}

void scale_channels_backward(const ScaleChannelsBackward& a) {
  const ScaleChannels& f = a.forward;
  if (f.channels < kPixelsTogether && f.rows >= kPixelsTogether) {
    const std::vector<float> scale = repeated(f.scale, f.channels);
    const int64_t together = f.rows / kPixelsTogether, done = together * kPixelsTogether;
    scale_channels_backward(
        {{.rows = together, .channels = kPixelsTogether * f.channels, .scale = scale.data()}, a.d_y, a.d_x});
    scale_channels_backward({{.rows = f.rows - done, .channels = f.channels, .scale = f.scale},
                             a.d_y + done * f.channels,
                             a.d_x + done * f.channels});
    return;
  }
  parallel_for(a.forward.rows, rows_per_chunk(a.forward.channels), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ScaleBackwardRows)(a, begin, end);
  });
}

void feature_distance(const FeatureDistance& a) {
  if (a.positions == 0) return;
  const int64_t grain = rows_per_chunk(a.channels);
  std::vector<double> sums(static_cast<size_t>((a.positions + grain - 1) / grain));
  for (int64_t n = 0; n < a.batch; ++n) {
    const int64_t first = n * a.positions;
    parallel_for(a.positions, grain, [&](int64_t begin, int64_t end) {
      sums[static_cast<size_t>(begin / grain)] =
          HWY_DYNAMIC_DISPATCH(DistanceOfRows)(a, first + begin, first + end);
    });
    double sum = 0;
    for (const double part : sums) sum += part;
    a.values[n] += sum / static_cast<double>(a.positions);
  }
}

void feature_distance_backward(const FeatureDistanceBackward& a) {
  const FeatureDistance& f = a.forward;
  const float factor = a.d_value / static_cast<float>(std::max<int64_t>(f.positions, 1));
  parallel_for(f.batch * f.positions, rows_per_chunk(f.channels), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(DistanceBackwardRows)(a, factor, begin, end);
  });
}

}  // namespace eg4d::cpu
#endif
