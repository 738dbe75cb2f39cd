// Two passes over the image, each in rows: the five window means (of a, b, a², b², ab) give the value and the
// derivatives with respect to three of them; these, blurred again (the window is symmetric and the padding
// zero, so the blur is its own adjoint), give the derivative with respect to a.

#include "backend/cpu/ssim.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/ssim.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "backend/cpu/simd-inl.h"
#include "backend/cpu/thread_scratch.h"
#include "core/threads.h"

#ifndef EG4D_SSIM_ONCE
#define EG4D_SSIM_ONCE
namespace eg4d::cpu {
namespace {

constexpr int kRadius = 5;                 // 11×11 window
constexpr int64_t kPadding = 3 * kRadius;  // floats
constexpr float kC1 = 0.01f * 0.01f, kC2 = 0.03f * 0.03f;

struct SsimImages {
  const float *a, *b;
  int64_t row, height;  // floats in a row, rows
  std::array<float, 2 * kRadius + 1> window;
  // Derivatives of the sum of SSIM values with respect to the window means of a, a² and ab.
  float *d_mean, *d_square, *d_cross;
  float scale;  // of the derivative with respect to a
  float* d_a;

  // Rows of the window around y that lie in the image, as steps from y.
  int first(int64_t y) const { return static_cast<int>(-std::min<int64_t>(kRadius, y)); }
  int last(int64_t y) const { return static_cast<int>(std::min<int64_t>(kRadius, height - 1 - y)); }
};

// Rows with zeros on both sides.
struct PaddedRows {
  PaddedRows(int count, int64_t row) : stride(row + 2 * kPadding), memory(scratch(0, count * stride)) {
    for (int i = 0; i < count; ++i) {
      std::fill_n(memory + i * stride, kPadding, 0.0f);
      std::fill_n(memory + i * stride + kPadding + row, kPadding, 0.0f);
    }
  }
  float* operator[](int i) const { return memory + i * stride + kPadding; }
  int64_t stride;
  float* memory;
};

}  // namespace
}  // namespace eg4d::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

// Σ_k window[k]·row[x+3k]
template <class D>
HWY_INLINE hn::Vec<D> blur_along_row(D d, const SsimImages& s, const float* row, int64_t x) {
  auto sum = hn::Zero(d);
  for (int k = -kRadius; k <= kRadius; ++k)
    sum = hn::MulAdd(hn::Set(d, s.window[k + kRadius]), hn::LoadU(d, row + x + 3 * k), sum);
  return sum;
}

// The means down the columns of the window.
void blur_columns(const SsimImages& s, int64_t y, const PaddedRows& rows) {
  for_lanes(s.row, [&](auto d, int64_t x) HWY_ATTR {
    auto a = hn::Zero(d), b = hn::Zero(d), aa = hn::Zero(d), bb = hn::Zero(d), ab = hn::Zero(d);
    for (int k = s.first(y); k <= s.last(y); ++k) {
      const int64_t at = (y + k) * s.row + x;
      const auto va = hn::LoadU(d, s.a + at), vb = hn::LoadU(d, s.b + at);
      const auto weight = hn::Set(d, s.window[k + kRadius]);
      const auto wa = hn::Mul(weight, va), wb = hn::Mul(weight, vb);
      a = hn::Add(a, wa);
      b = hn::Add(b, wb);
      aa = hn::MulAdd(wa, va, aa);
      bb = hn::MulAdd(wb, vb, bb);
      ab = hn::MulAdd(wa, vb, ab);
    }
    hn::StoreU(a, d, rows[0] + x);
    hn::StoreU(b, d, rows[1] + x);
    hn::StoreU(aa, d, rows[2] + x);
    hn::StoreU(bb, d, rows[3] + x);
    hn::StoreU(ab, d, rows[4] + x);
  });
}

// Value and derivatives in row y; returns the sum of the values.
double ssim_row(const SsimImages& s, int64_t y) {
  const PaddedRows rows(5, s.row);
  blur_columns(s, y, rows);
  double total = 0;
  for_lanes(s.row, [&](auto d, int64_t x) HWY_ATTR {
    const auto a = blur_along_row(d, s, rows[0], x), b = blur_along_row(d, s, rows[1], x);
    const auto aa = blur_along_row(d, s, rows[2], x), bb = blur_along_row(d, s, rows[3], x);
    const auto ab = blur_along_row(d, s, rows[4], x);
    const auto two = hn::Set(d, 2.0f), c1 = hn::Set(d, kC1), c2 = hn::Set(d, kC2);
    const auto variances = hn::Add(hn::NegMulAdd(a, a, aa), hn::NegMulAdd(b, b, bb));
    const auto luminance = hn::MulAdd(two, hn::Mul(a, b), c1);
    const auto contrast = hn::MulAdd(two, hn::NegMulAdd(a, b, ab), c2);
    const auto luminance_norm = hn::Add(hn::MulAdd(a, a, hn::Mul(b, b)), c1);
    const auto contrast_norm = hn::Add(variances, c2);
    const auto norm = hn::Div(hn::Set(d, 1.0f), hn::Mul(luminance_norm, contrast_norm));
    const auto value = hn::Mul(hn::Mul(luminance, contrast), norm);
    total += hn::GetLane(hn::SumOfLanes(d, value));
    if (!s.d_a) return;
    const auto d_square = hn::Neg(hn::Mul(value, hn::Mul(luminance_norm, norm)));
    const auto d_cross = hn::Mul(hn::Mul(two, luminance), norm);
    // 2·b·contrast·norm - 2·a·value/luminance_norm - b·d_cross - 2·a·d_square
    const auto with_b = hn::Mul(b, hn::NegMulAdd(two, hn::Mul(contrast, norm), d_cross));
    const auto with_a = hn::Mul(hn::Mul(two, a), hn::MulAdd(value, hn::Mul(contrast_norm, norm), d_square));
    const int64_t at = y * s.row + x;
    hn::StoreU(hn::Neg(hn::Add(with_a, with_b)), d, s.d_mean + at);
    hn::StoreU(d_square, d, s.d_square + at);
    hn::StoreU(d_cross, d, s.d_cross + at);
  });
  return total;
}

void gradient_row(const SsimImages& s, int64_t y) {
  const PaddedRows rows(3, s.row);
  for_lanes(s.row, [&](auto d, int64_t x) HWY_ATTR {
    auto mean = hn::Zero(d), square = hn::Zero(d), cross = hn::Zero(d);
    for (int k = s.first(y); k <= s.last(y); ++k) {
      const int64_t at = (y + k) * s.row + x;
      const auto weight = hn::Set(d, s.window[k + kRadius]);
      mean = hn::MulAdd(weight, hn::LoadU(d, s.d_mean + at), mean);
      square = hn::MulAdd(weight, hn::LoadU(d, s.d_square + at), square);
      cross = hn::MulAdd(weight, hn::LoadU(d, s.d_cross + at), cross);
    }
    hn::StoreU(mean, d, rows[0] + x);
    hn::StoreU(square, d, rows[1] + x);
    hn::StoreU(cross, d, rows[2] + x);
  });
  for_lanes(s.row, [&](auto d, int64_t x) HWY_ATTR {
    const int64_t at = y * s.row + x;
    const auto a = hn::LoadU(d, s.a + at), b = hn::LoadU(d, s.b + at);
    auto sum = blur_along_row(d, s, rows[0], x);
    sum = hn::MulAdd(hn::Add(a, a), blur_along_row(d, s, rows[1], x), sum);
    sum = hn::MulAdd(b, blur_along_row(d, s, rows[2], x), sum);
    hn::StoreU(hn::MulAdd(sum, hn::Set(d, s.scale), hn::LoadU(d, s.d_a + at)), d, s.d_a + at);
  });
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(ssim_row);
HWY_EXPORT(gradient_row);

namespace {

std::array<float, 2 * kRadius + 1> gaussian_window() {
  std::array<double, 2 * kRadius + 1> weight;
  double sum = 0;
  for (int k = -kRadius; k <= kRadius; ++k) sum += weight[k + kRadius] = std::exp(-k * k / (2 * 1.5 * 1.5));
  std::array<float, 2 * kRadius + 1> window;
  for (size_t i = 0; i < window.size(); ++i) window[i] = static_cast<float>(weight[i] / sum);
  return window;
}

}  // namespace

double ssim(const float* a, const float* b, int width, int height, float weight, float* d_a) {
  const int64_t count = int64_t{3} * width * height;
  if (count == 0) return 0;
  float* derivatives = scratch(1, 3 * count);
  const SsimImages s{.a = a,
                     .b = b,
                     .row = int64_t{3} * width,
                     .height = height,
                     .window = gaussian_window(),
                     .d_mean = derivatives,
                     .d_square = derivatives + count,
                     .d_cross = derivatives + 2 * count,
                     .scale = weight / static_cast<float>(count),
                     .d_a = d_a};
  std::vector<double> sums(static_cast<size_t>(height));
  constexpr int64_t kRows = 8;
  parallel_for(height, kRows, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) sums[static_cast<size_t>(y)] = HWY_DYNAMIC_DISPATCH(ssim_row)(s, y);
  });
  if (d_a) {
    parallel_for(height, kRows, [&](int64_t begin, int64_t end) {
      for (int64_t y = begin; y < end; ++y) HWY_DYNAMIC_DISPATCH(gradient_row)(s, y);
    });
  }
  double sum = 0;
  for (const double row : sums) sum += row;
  return sum / static_cast<double>(count);
}

}  // namespace eg4d::cpu
#endif
