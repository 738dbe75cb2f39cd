#include <algorithm>

#include "backend/cpu/neural_kernels.h"
#include "core/threads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/pooling.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"
//
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

// The part of window (row, column) of picture `picture` that lies inside.
struct Window {
  const float* first;  // its first pixel, in x
  int64_t offset;      // of that pixel in x, in floats
  int64_t rows, columns;

  Window(const MaxPool& a, int64_t picture, int64_t row, int64_t column) {
    const int64_t top = row * a.stride, left = column * a.stride;
    offset = ((picture * a.height + top) * a.width + left) * a.channels;
    first = a.x.f32() + offset;
    rows = std::min(a.kernel, a.height - top);
    columns = std::min(a.kernel, a.width - left);
  }
};

template <class Vector, class Tag>
HWY_INLINE auto is_larger(Tag, Vector value, Vector best) {
  return hn::Or(hn::Gt(value, best), hn::IsNaN(value));
}

void MaxPoolRows(const MaxPool& a, int64_t begin, int64_t end) {
  const int64_t line = a.width * a.channels;
  for (int64_t r = begin; r < end; ++r) {
    for (int64_t column = 0; column < a.out_width; ++column) {
      const Window window(a, r / a.out_height, r % a.out_height, column);
      float* y = a.y.f32() + (r * a.out_width + column) * a.channels;
      for_lanes(a.channels, [&](auto d, int64_t c) HWY_ATTR {
        auto best = hn::LoadU(d, window.first + c);
        for (int64_t i = 0; i < window.rows; ++i)
          for (int64_t j = 0; j < window.columns; ++j) {
            const auto value = hn::LoadU(d, window.first + i * line + j * a.channels + c);
            best = hn::IfThenElse(is_larger(d, value, best), value, best);
          }
        hn::StoreU(best, d, y + c);
      });
    }
  }
}

// The channels [begin, end) of one picture: windows that overlap are then one thread's work.
void MaxPoolBackwardChannels(const MaxPoolBackward& a, int64_t picture, int64_t begin, int64_t end) {
  const MaxPool& f = a.forward;
  const int64_t line = f.width * f.channels;
  for (int64_t row = 0; row < f.out_height; ++row) {
    for (int64_t column = 0; column < f.out_width; ++column) {
      const Window window(f, picture, row, column);
      const float* d_y = a.d_y + ((picture * f.out_height + row) * f.out_width + column) * f.channels + begin;
      for_lanes(end - begin, [&](auto d, int64_t c) HWY_ATTR {
        const float* x = window.first + begin + c;
        auto best = hn::LoadU(d, x);
        auto chosen = hn::Zero(d);  // number of the tap, as a float
        for (int64_t tap = 0, i = 0; i < window.rows; ++i)
          for (int64_t j = 0; j < window.columns; ++j, ++tap) {
            const auto value = hn::LoadU(d, x + i * line + j * f.channels);
            const auto larger = is_larger(d, value, best);
            best = hn::IfThenElse(larger, value, best);
            chosen = hn::IfThenElse(larger, hn::Set(d, static_cast<float>(tap)), chosen);
          }
        const auto gradient = hn::LoadU(d, d_y + c);
        float* d_x = a.d_x + window.offset + begin + c;
        for (int64_t tap = 0, i = 0; i < window.rows; ++i)
          for (int64_t j = 0; j < window.columns; ++j, ++tap) {
            float* to = d_x + i * line + j * f.channels;
            const auto hit = hn::Eq(chosen, hn::Set(d, static_cast<float>(tap)));
            hn::StoreU(hn::Add(hn::LoadU(d, to), hn::IfThenElseZero(hit, gradient)), d, to);
          }
      });
    }
  }
}

// Where a row or column of the result comes from: two neighbours and the share of the second.
struct Between {
  int64_t low, high;
  float share;
  Between(int64_t i, int64_t in, int64_t out, bool align_corners) {
    const float position =
        align_corners
            ? static_cast<float>(i) *
                  (static_cast<float>(in - 1) / static_cast<float>(std::max<int64_t>(out - 1, 1)))
            : std::max(
                  (static_cast<float>(i) + 0.5f) * (static_cast<float>(in) / static_cast<float>(out)) - 0.5f,
                  0.0f);
    low = std::min(static_cast<int64_t>(position), in - 1);
    high = std::min(low + 1, in - 1);
    share = std::clamp(position - static_cast<float>(low), 0.0f, 1.0f);
  }
};

void ResizeRows(const ResizeFeatures& a, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const Between rows(r % a.out_height, a.height, a.out_height, a.align_corners);
    const float* picture = a.x.f32() + r / a.out_height * a.height * a.width * a.channels;
    const float* upper = picture + rows.low * a.width * a.channels;
    const float* lower = picture + rows.high * a.width * a.channels;
    for (int64_t column = 0; column < a.out_width; ++column) {
      const Between columns(column, a.width, a.out_width, a.align_corners);
      const int64_t left = columns.low * a.channels, right = columns.high * a.channels;
      float* y = a.y.f32() + (r * a.out_width + column) * a.channels;
      for_lanes(a.channels, [&](auto d, int64_t c) HWY_ATTR {
        const auto across = hn::Set(d, columns.share), across_rest = hn::Set(d, 1 - columns.share);
        const auto down = hn::Set(d, rows.share), down_rest = hn::Set(d, 1 - rows.share);
        const auto above = hn::MulAdd(across, hn::LoadU(d, upper + right + c),
                                      hn::Mul(across_rest, hn::LoadU(d, upper + left + c)));
        const auto below = hn::MulAdd(across, hn::LoadU(d, lower + right + c),
                                      hn::Mul(across_rest, hn::LoadU(d, lower + left + c)));
        hn::StoreU(hn::MulAdd(down, below, hn::Mul(down_rest, above)), d, y + c);
      });
    }
  }
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(MaxPoolRows);
HWY_EXPORT(MaxPoolBackwardChannels);
HWY_EXPORT(ResizeRows);

namespace {
constexpr int64_t kRowsPerChunk = 4;
constexpr int64_t kChannelsPerChunk = 16;  // one cache line of a pixel
}  // namespace

void max_pool(const MaxPool& a) {
  parallel_for(a.batch * a.out_height, kRowsPerChunk, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(MaxPoolRows)(a, begin, end);
  });
}

void max_pool_backward(const MaxPoolBackward& a) {
  const int64_t blocks = (a.forward.channels + kChannelsPerChunk - 1) / kChannelsPerChunk;
  parallel_for(a.forward.batch * blocks, 1, [&](int64_t chunk, int64_t) {
    const int64_t first = chunk % blocks * kChannelsPerChunk;
    HWY_DYNAMIC_DISPATCH(MaxPoolBackwardChannels)
    (a, chunk / blocks, first, std::min(first + kChannelsPerChunk, a.forward.channels));
  });
}

void resize_features(const ResizeFeatures& a) {
  if (a.height == 0 || a.width == 0) return;
  parallel_for(a.batch * a.out_height, kRowsPerChunk, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ResizeRows)(a, begin, end);
  });
}

}  // namespace eg4d::cpu
#endif
