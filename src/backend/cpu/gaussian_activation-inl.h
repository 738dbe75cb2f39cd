// Included by files that are compiled once per Highway target; hence the toggling guard.
#if defined(EG4D_BACKEND_CPU_GAUSSIAN_ACTIVATION_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef EG4D_BACKEND_CPU_GAUSSIAN_ACTIVATION_INL_H
#undef EG4D_BACKEND_CPU_GAUSSIAN_ACTIVATION_INL_H
#else
#define EG4D_BACKEND_CPU_GAUSSIAN_ACTIVATION_INL_H
#endif

#include "backend/cpu/simd-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {

// canonical + delta; a null delta is 0.
template <class D>
HWY_INLINE hn::Vec<D> sum_at(D d, const float* canonical, const float* delta, int64_t i) {
  const auto value = hn::LoadU(d, canonical + i);
  return delta ? hn::Add(value, hn::LoadU(d, delta + i)) : value;
}

// e^x as std::exp gives it where Highway's leaves its range: infinity above, NaN for NaN.
template <class D>
HWY_INLINE hn::Vec<D> exponential(D d, hn::Vec<D> x) {
  const auto largest = hn::Set(d, 88.72283f);
  const auto result = hn::Exp(d, hn::Min(x, largest));
  const auto unbounded = hn::IfThenElse(hn::Gt(x, largest), hn::Inf(d), result);
  return hn::IfThenElse(hn::IsNaN(x), x, unbounded);
}

template <class D>
HWY_INLINE hn::Vec<D> sigmoid(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, exponential(d, hn::Neg(x))));
}

}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
