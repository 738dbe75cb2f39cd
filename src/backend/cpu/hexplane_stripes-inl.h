// Included by files that are compiled once per Highway target; hence the toggling guard.
#if defined(EG4D_BACKEND_CPU_HEXPLANE_STRIPES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef EG4D_BACKEND_CPU_HEXPLANE_STRIPES_INL_H
#undef EG4D_BACKEND_CPU_HEXPLANE_STRIPES_INL_H
#else
#define EG4D_BACKEND_CPU_HEXPLANE_STRIPES_INL_H
#endif

#include <algorithm>
#include <utility>

#include "backend/cpu/hexplane_stripes.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {

// Calls visit(tag, i, value, difference, gradient) for all lanes of a stripe, row by row: i is the position
// in the grid, `value` the lanes there, `difference` the second difference that starts in this row,
// `gradient` that of the weighted regularisers. The visitor may change the grid at i: no later call reads it.
template <class Visit>
HWY_INLINE void walk_stripe(const HexPlaneStripe& stripe, const float* grid, const Visit& visit) {
  float rings[2][HexPlaneStripe::kWidth];
  float *one_up = rings[0], *two_up = rings[1];  // the second differences that start one and two rows above
  std::fill_n(one_up, stripe.width, 0.0f);
  std::fill_n(two_up, stripe.width, 0.0f);
  for (int row = 0; row < stripe.rows; ++row) {
    const int64_t begin = stripe.offset + row * stripe.stride;
    const bool starts = row + 2 < stripe.rows;
    for_lanes(stripe.width, [&](auto d, int64_t k) HWY_ATTR {
      const float* p = grid + begin + k;
      const auto value = hn::LoadU(d, p), two = hn::Set(d, 2.0f);
      auto difference = hn::Zero(d);
      if (starts)
        difference = hn::NegMulAdd(two, hn::LoadU(d, p + stripe.stride),
                                   hn::Add(value, hn::LoadU(d, p + 2 * stripe.stride)));
      const auto fourth =
          hn::NegMulAdd(two, hn::LoadU(d, one_up + k), hn::Add(difference, hn::LoadU(d, two_up + k)));
      hn::StoreU(difference, d, two_up + k);
      auto gradient = hn::Mul(fourth, hn::Set(d, stripe.smoothness));
      if (stripe.l1 != 0) {
        const auto excess = hn::Sub(value, hn::Set(d, 1.0f)), weight = hn::Set(d, stripe.l1);
        const auto sign = hn::Or(hn::And(excess, hn::SignBit(d)), weight);  // weight with the sign of excess
        gradient = hn::Add(gradient, hn::IfThenZeroElse(hn::Eq(excess, hn::Zero(d)), sign));
      }
      visit(d, begin + k, value, difference, gradient);
    });
    std::swap(one_up, two_up);
  }
}

}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
