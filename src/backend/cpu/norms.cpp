#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "backend/cpu/neural_kernels.h"
#include "core/error.h"
#include "core/threads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/norms.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
//
#include "backend/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using Full = hn::ScalableTag<float>;
using One = hn::CappedTag<float, 1>;

// body(tag, i) for i < count: full vectors, then single elements.
template <class Body>
HWY_INLINE void each(int64_t count, Body body) {
  const Full d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) body(d, i);
  for (; i < count; ++i) body(One(), i);
}

// Sums of (x + add - pivot) and of its square over positions [begin,end) of one sample, per channel.
// Taking a pivot near the mean away first keeps the difference of squares exact enough.
void ChannelSums(const GroupNorm& a, int64_t sample, int64_t begin, int64_t end, const float* pivot,
                 float* sum, float* square) {
  for (int64_t p = begin; p < end; ++p) {
    const int64_t position = sample * a.positions + p;
    const float* x = a.x.f32() + position * a.channels;
    const float* add = a.add.f32() ? a.add.f32() + position / a.add_positions * a.channels : nullptr;
    each(a.channels, [=](auto d, int64_t c) HWY_ATTR {
      auto v = hn::LoadU(d, x + c);
      if (add) v = hn::Add(v, hn::LoadU(d, add + c));
      v = hn::Sub(v, hn::LoadU(d, pivot + c));
      hn::StoreU(hn::Add(hn::LoadU(d, sum + c), v), d, sum + c);
      hn::StoreU(hn::MulAdd(v, v, hn::LoadU(d, square + c)), d, square + c);
    });
  }
}

// y = activation((x + add)·gain + offset) for positions [begin,end) counted through the batch.
void Normalize(const GroupNorm& a, int64_t begin, int64_t end, const float* gains, const float* offsets) {
  for (int64_t position = begin; position < end; ++position) {
    const float* x = a.x.f32() + position * a.channels;
    const float* add = a.add.f32() ? a.add.f32() + position / a.add_positions * a.channels : nullptr;
    const float* gain = gains + position / a.positions * a.channels;
    const float* offset = offsets + position / a.positions * a.channels;
    float* y = a.y.f32() + position * a.channels;
    const Activation activation = a.activation;
    each(a.channels, [=](auto d, int64_t c) HWY_ATTR {
      auto v = hn::LoadU(d, x + c);
      if (add) v = hn::Add(v, hn::LoadU(d, add + c));
      v = hn::MulAdd(v, hn::LoadU(d, gain + c), hn::LoadU(d, offset + c));
      if (activation == Activation::silu) v = silu(d, v);
      if (activation == Activation::gelu) v = gelu(d, v);
      if (activation == Activation::quick_gelu) v = quick_gelu(d, v);
      if (activation == Activation::relu) v = hn::Max(v, hn::Zero(d));
      hn::StoreU(v, d, y + c);
    });
  }
}

HWY_INLINE float sum_of(int64_t count, const float* x, float mean, bool squared) {
  const Full d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto m = hn::Set(d, mean);
  auto total = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto v = hn::Sub(hn::LoadU(d, x + i), m);
    total = squared ? hn::MulAdd(v, v, total) : hn::Add(total, v);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, total));
  for (; i < count; ++i) sum += squared ? (x[i] - mean) * (x[i] - mean) : x[i] - mean;
  return sum;
}

void LayerNormRows(const LayerNorm& a, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const float* x = a.x.f32() + r * a.width;
    float* y = a.y.f32() + r * a.width;
    if (a.add.f32()) {
      float* sum = a.sum.f32() ? a.sum.f32() + r * a.width : y;
      const float* add = a.add.f32() + r / a.rows_per_add % a.add_rows * a.width;
      each(a.width, [=](auto d, int64_t c) HWY_ATTR {
        hn::StoreU(hn::Add(hn::LoadU(d, x + c), hn::LoadU(d, add + c)), d, sum + c);
      });
      x = sum;
    } else if (a.sum.f32() && a.sum.f32() != a.x.f32()) {
      float* sum = a.sum.f32() + r * a.width;
      each(a.width, [=](auto d, int64_t c) HWY_ATTR { hn::StoreU(hn::LoadU(d, x + c), d, sum + c); });
    }
    const float width = static_cast<float>(a.width);
    const float mean = sum_of(a.width, x, 0, false) / width;
    const float variance = sum_of(a.width, x, mean, true) / width;
    const float gain = 1 / std::sqrt(variance + a.epsilon);
    const float *scale = a.scale, *shift = a.shift;
    each(a.width, [=](auto d, int64_t c) HWY_ATTR {
      const auto v = hn::Mul(hn::Sub(hn::LoadU(d, x + c), hn::Set(d, mean)), hn::Set(d, gain));
      hn::StoreU(hn::MulAdd(v, hn::LoadU(d, scale + c), hn::LoadU(d, shift + c)), d, y + c);
    });
  }
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(ChannelSums);
HWY_EXPORT(Normalize);
HWY_EXPORT(LayerNormRows);

namespace {

constexpr int64_t kChunkFloats = 1 << 16;  // of a parallel chunk; also bounds the f32 sums
constexpr int64_t kPositionsPerSum = 128;

int64_t rows_per_chunk(int64_t width, int64_t most) {
  return std::clamp<int64_t>(kChunkFloats / std::max<int64_t>(width, 1), 1, most);
}

// Mean and deviation of a sample's groups, from the sums of its chunks.
void finish_statistics(const GroupNorm& a, int64_t sample, const float* pivot, const float* sums,
                       int64_t chunks, GroupStatistics& statistics) {
  const int64_t per_group = a.channels / a.groups;
  std::vector<double> mean(static_cast<size_t>(a.channels)), deviation(static_cast<size_t>(a.channels));
  for (int64_t c = 0; c < a.channels; ++c) {
    double sum = 0, square = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const float* partial = sums + chunk * 2 * a.channels;
      sum += partial[c];
      square += partial[a.channels + c];
    }
    const double count = static_cast<double>(a.positions);
    mean[static_cast<size_t>(c)] = pivot[c] + sum / count;
    deviation[static_cast<size_t>(c)] = square - sum * sum / count;  // Σ (x - channel mean)²
  }
  for (int64_t g = 0; g < a.groups; ++g) {
    const int64_t first = g * per_group;
    double group_mean = 0, total = 0;
    for (int64_t c = first; c < first + per_group; ++c) group_mean += mean[static_cast<size_t>(c)];
    group_mean /= static_cast<double>(per_group);
    for (int64_t c = first; c < first + per_group; ++c) {
      const double between = mean[static_cast<size_t>(c)] - group_mean;
      total += deviation[static_cast<size_t>(c)] + between * between * static_cast<double>(a.positions);
    }
    const double variance = total / static_cast<double>(per_group * a.positions);
    const auto group = static_cast<size_t>(sample * a.groups + g);
    statistics.mean[group] = group_mean;
    statistics.inverse_deviation[group] =
        1 / std::sqrt(std::max(variance, 0.0) + static_cast<double>(a.epsilon));
  }
}

}  // namespace

GroupStatistics group_statistics(const GroupNorm& a) {
  if (a.groups < 1 || a.channels % a.groups != 0)
    throw Error(fmt::format("group norm: {} channels do not divide into {} groups", a.channels, a.groups));
  const int64_t step = rows_per_chunk(a.channels, kPositionsPerSum);
  const int64_t chunks = (a.positions + step - 1) / step;
  const auto channels = static_cast<size_t>(a.channels), batch = static_cast<size_t>(a.batch),
             groups = batch * static_cast<size_t>(a.groups);
  std::vector<float> pivot(batch * channels), sums(batch * static_cast<size_t>(chunks) * 2 * channels);
  for (int64_t sample = 0; sample < a.batch; ++sample) {
    const int64_t position = sample * a.positions;
    for (int64_t c = 0; c < a.channels; ++c)
      pivot[static_cast<size_t>(sample * a.channels + c)] =
          a.x.f32()[position * a.channels + c] +
          (a.add.f32() ? a.add.f32()[position / a.add_positions * a.channels + c] : 0);
  }
  parallel_for(a.batch * chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t sample = i / chunks, first = i % chunks * step;
      float* sum = sums.data() + i * 2 * a.channels;
      HWY_DYNAMIC_DISPATCH(ChannelSums)
      (a, sample, first, std::min(first + step, a.positions), pivot.data() + sample * a.channels, sum,
       sum + a.channels);
    }
  });
  GroupStatistics statistics{std::vector<double>(groups), std::vector<double>(groups)};
  parallel_for(a.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t sample = begin; sample < end; ++sample)
      finish_statistics(a, sample, pivot.data() + sample * a.channels,
                        sums.data() + sample * chunks * 2 * a.channels, chunks, statistics);
  });
  return statistics;
}

void group_norm(const GroupNorm& a) {
  if (a.batch * a.positions * a.channels == 0) return;
  const GroupStatistics statistics = group_statistics(a);
  const int64_t per_group = a.channels / a.groups;
  std::vector<float> gain, offset;  // per (sample, channel)
  for (int64_t i = 0; i < a.batch * a.channels; ++i) {
    const auto group = static_cast<size_t>(i / per_group);
    const int64_t c = i % a.channels;
    const double inverse = statistics.inverse_deviation[group];
    gain.push_back(static_cast<float>(inverse * a.scale[c]));
    offset.push_back(static_cast<float>(a.shift[c] - statistics.mean[group] * inverse * a.scale[c]));
  }
  parallel_for(a.batch * a.positions, rows_per_chunk(a.channels, kPositionsPerSum),
               [&](int64_t begin, int64_t end) {
                 HWY_DYNAMIC_DISPATCH(Normalize)(a, begin, end, gain.data(), offset.data());
               });
}

void layer_norm(const LayerNorm& a) {
  parallel_for(a.rows, rows_per_chunk(a.width, a.rows), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(LayerNormRows)(a, begin, end);
  });
}

}  // namespace eg4d::cpu
#endif
