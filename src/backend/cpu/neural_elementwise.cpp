#include <cstring>

#include "backend/cpu/neural_kernels.h"
#include "core/threads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/neural_elementwise.cpp"
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
using Vector = hn::Vec<Full>;

// y[i] = body(x vectors at i) for i < count, the rest of a vector handled like a full one.
template <class Body>
HWY_INLINE void each(int64_t count, const float* a, const float* b, float* y, Body body) {
  const Full d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(body(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i);
  if (i == count) return;
  HWY_ALIGN float rest_a[hn::MaxLanes(d)] = {}, rest_b[hn::MaxLanes(d)] = {};
  const size_t bytes = static_cast<size_t>(count - i) * sizeof(float);
  std::memcpy(rest_a, a + i, bytes);
  std::memcpy(rest_b, b + i, bytes);
  hn::Store(body(hn::Load(d, rest_a), hn::Load(d, rest_b)), d, rest_a);
  std::memcpy(y + i, rest_a, bytes);
}

void GegluRows(const Geglu& a, int64_t begin, int64_t end) {
  const Full d;
  for (int64_t r = begin; r < end; ++r) {
    const float* x = a.x.f32() + r * 2 * a.width;
    each(a.width, x, x + a.width, a.y.f32() + r * a.width,
         [d](Vector value, Vector gate) { return hn::Mul(value, gelu(d, gate)); });
  }
}

void ScaledSumRange(const ScaledSum& a, int64_t begin, int64_t end) {
  const Full d;
  const Vector a_scale = hn::Set(d, a.a_scale), b_scale = hn::Set(d, a.b_scale);
  if (a.b.f32()) {
    each(end - begin, a.a.f32() + begin, a.b.f32() + begin, a.y.f32() + begin,
         [=](Vector u, Vector v) { return hn::MulAdd(u, a_scale, hn::Mul(v, b_scale)); });
  } else {
    each(end - begin, a.a.f32() + begin, a.a.f32() + begin, a.y.f32() + begin,
         [=](Vector u, Vector) { return hn::Mul(u, a_scale); });
  }
}

void ActivateRange(const Activate& a, int64_t begin, int64_t end) {
  const Full d;
  const float* x = a.x.f32() + begin;
  float* y = a.y.f32() + begin;
  switch (a.activation) {
    case Activation::none:
      each(end - begin, x, x, y, [](Vector v, Vector) { return v; });
      break;
    case Activation::silu:
      each(end - begin, x, x, y, [d](Vector v, Vector) { return silu(d, v); });
      break;
    case Activation::gelu:
      each(end - begin, x, x, y, [d](Vector v, Vector) { return gelu(d, v); });
      break;
    case Activation::quick_gelu:
      each(end - begin, x, x, y, [d](Vector v, Vector) { return quick_gelu(d, v); });
      break;
    case Activation::relu:
      each(end - begin, x, x, y,
           [d](Vector v, Vector) { return hn::IfThenZeroElse(hn::Lt(v, hn::Zero(d)), v); });
      break;
  }
}

void ReluBackwardRange(const float* y, const float* d_y, float* d_x, int64_t begin, int64_t end) {
  const Full d;
  each(end - begin, y + begin, d_y + begin, d_x + begin, [d](Vector value, Vector gradient) {
    return hn::IfThenElseZero(hn::Gt(value, hn::Zero(d)), gradient);
  });
}

void ToBfloat16Range(const float* x, uint16_t* y, int64_t begin, int64_t end) {
  const Full d;
  const hn::Rebind<uint32_t, Full> du;
  const hn::Rebind<uint16_t, Full> d16;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  // Round to nearest even on the bits; NaN stays NaN.
  auto round = [=](Vector v) HWY_ATTR {
    const auto bits = hn::BitCast(du, v);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
    const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fffu)));
    const auto quiet = hn::Or(bits, hn::Set(du, 0x400000u));
    const auto chosen = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), quiet, rounded);
    return hn::TruncateTo(d16, hn::ShiftRight<16>(chosen));
  };
  int64_t i = begin;
  for (; i + lanes <= end; i += lanes) hn::StoreU(round(hn::LoadU(d, x + i)), d16, y + i);
  if (i == end) return;
  HWY_ALIGN float rest[hn::MaxLanes(d)] = {};
  HWY_ALIGN uint16_t out[hn::MaxLanes(d)];
  std::memcpy(rest, x + i, static_cast<size_t>(end - i) * sizeof(float));
  hn::Store(round(hn::Load(d, rest)), d16, out);
  std::memcpy(y + i, out, static_cast<size_t>(end - i) * sizeof(uint16_t));
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(GegluRows);
HWY_EXPORT(ScaledSumRange);
HWY_EXPORT(ActivateRange);
HWY_EXPORT(ReluBackwardRange);
HWY_EXPORT(ToBfloat16Range);

namespace {
constexpr int64_t kGrain = 1 << 16;  // floats per parallel chunk
int64_t rows_per_chunk(int64_t width) {
  return std::max<int64_t>(kGrain / std::max<int64_t>(width, 1), 1);
}
}  // namespace

void geglu(const Geglu& a) {
  parallel_for(a.rows, rows_per_chunk(a.width), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(GegluRows)(a, begin, end);
  });
}

void scaled_sum(const ScaledSum& a) {
  parallel_for(a.count, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ScaledSumRange)(a, begin, end);
  });
}

void convert(const Convert& a) {
  parallel_for(a.count, int64_t{1} << 18, [&](int64_t begin, int64_t end) {
    std::memcpy(a.y.f32() + begin, a.x.f32() + begin, static_cast<size_t>(end - begin) * sizeof(float));
  });
}

void activate(const Activate& a) {
  parallel_for(a.count, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ActivateRange)(a, begin, end);
  });
}

void relu_backward(const float* y, const float* d_y, float* d_x, int64_t count) {
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ReluBackwardRange)(y, d_y, d_x, begin, end);
  });
}

void to_bfloat16(const float* x, uint16_t* y, int64_t count) {
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ToBfloat16Range)(x, y, begin, end);
  });
}

void upsample(const Upsample& a) {
  const size_t pixel = static_cast<size_t>(a.channels) * sizeof(float);
  const int64_t out_row = 2 * a.width * a.channels;
  parallel_for(a.batch * a.height, rows_per_chunk(out_row), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* first = a.y.f32() + r * 2 * out_row;
      for (int64_t column = 0; column < a.width; ++column) {
        const float* from = a.x.f32() + (r * a.width + column) * a.channels;
        std::memcpy(first + 2 * column * a.channels, from, pixel);
        std::memcpy(first + (2 * column + 1) * a.channels, from, pixel);
      }
      std::memcpy(first + out_row, first, static_cast<size_t>(out_row) * sizeof(float));
    }
  });
}

void patches(const Patches& a) {
  const int64_t rows = a.height / a.patch, columns = a.width / a.patch, line = a.patch * a.channels;
  parallel_for(a.batch * rows * columns, rows_per_chunk(a.patch * line), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t picture = i / (rows * columns), row = i / columns % rows, column = i % columns;
      for (int64_t y = 0; y < a.patch; ++y) {
        const float* from =
            a.x.f32() + ((picture * a.height + row * a.patch + y) * a.width + column * a.patch) * a.channels;
        std::memcpy(a.y.f32() + (i * a.patch + y) * line, from, static_cast<size_t>(line) * sizeof(float));
      }
    }
  });
}

void copy_rows(const CopyRows& a) {
  if (a.rows == 1) {  // one long row: split it
    parallel_for(a.width, kGrain, [&](int64_t begin, int64_t end) {
      std::memmove(a.to.f32() + begin, a.from.f32() + begin,
                   static_cast<size_t>(end - begin) * sizeof(float));
    });
    return;
  }
  parallel_for(a.rows, rows_per_chunk(a.width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      std::memcpy(a.to.f32() + r * a.to_pitch, a.from.f32() + r * a.from_pitch,
                  static_cast<size_t>(a.width) * sizeof(float));
  });
}

}  // namespace eg4d::cpu
#endif
