// Included by files that are compiled once per Highway target; hence the toggling guard.
#if defined(EG4D_BACKEND_CPU_ADAM_STEP_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef EG4D_BACKEND_CPU_ADAM_STEP_INL_H
#undef EG4D_BACKEND_CPU_ADAM_STEP_INL_H
#else
#define EG4D_BACKEND_CPU_ADAM_STEP_INL_H
#endif

#include "backend/cpu/adam_step.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {

// Second moments come near and below the smallest normal float (gradients under 1e-17), where processors take
// a hundred cycles per operation. They are kept exactly nevertheless: vectors with such a lane compute with
// v·2⁶⁴ and take the conversion to and from subnormal numbers through integers.
template <class D>
struct SecondMoment {
  hn::Vec<D> value, root;
};
template <class D>
HWY_NOINLINE SecondMoment<D> tiny_second_moment(D d, const AdamStep& step, hn::Vec<D> gradient,
                                                hn::Vec<D> old) {
  const hn::RebindToSigned<D> di;
  const auto size = hn::Abs(gradient);
  const auto keep = hn::Set(d, step.second_keep), decay = hn::Set(d, step.second_decay);
  const auto scaled = hn::And(hn::Lt(old, hn::Set(d, 0x1p-60f)), hn::Lt(size, hn::Set(d, 0x1p-28f)));

  // v·2⁶⁴; a gradient under 2⁻⁹⁰ adds less than the smallest subnormal number.
  const auto subnormal = hn::Lt(old, hn::Set(d, 0x1p-126f));
  const auto from_integer = hn::Mul(hn::ConvertTo(d, hn::BitCast(di, old)), hn::Set(d, 0x1p-85f));
  const auto from_normal =
      hn::Mul(hn::IfThenElseZero(hn::AndNot(subnormal, scaled), old), hn::Set(d, 0x1p64f));
  const auto old_scaled = hn::IfThenElse(subnormal, from_integer, from_normal);
  const auto in_range = hn::And(scaled, hn::Ge(size, hn::Set(d, 0x1p-90f)));
  const auto gradient_scaled = hn::Mul(hn::IfThenElseZero(in_range, gradient), hn::Set(d, 0x1p32f));
  const auto value_scaled =
      hn::MulAdd(hn::Mul(gradient_scaled, gradient_scaled), decay, hn::Mul(old_scaled, keep));
  const auto stays_subnormal = hn::Lt(value_scaled, hn::Set(d, 0x1p-62f));
  const auto to_normal = hn::Mul(hn::IfThenZeroElse(stays_subnormal, value_scaled), hn::Set(d, 0x1p-64f));
  const auto to_integer = hn::BitCast(
      d, hn::NearestInt(hn::Mul(hn::IfThenElseZero(stays_subnormal, value_scaled), hn::Set(d, 0x1p85f))));

  // The other lanes: here a gradient this small is beneath v's rounding.
  const auto normal_gradient =
      hn::IfThenElseZero(hn::AndNot(scaled, hn::Ge(size, hn::Set(d, 0x1p-55f))), gradient);
  const auto normal_old = hn::IfThenZeroElse(scaled, old);
  const auto normal = hn::MulAdd(hn::Mul(normal_gradient, normal_gradient), decay, hn::Mul(normal_old, keep));

  return {hn::IfThenElse(scaled, hn::IfThenElse(stays_subnormal, to_integer, to_normal), normal),
          hn::IfThenElse(scaled, hn::Mul(hn::Sqrt(value_scaled), hn::Set(d, 0x1p-32f)), hn::Sqrt(normal))};
}

// True where 0 < x < bound.
template <class D>
HWY_INLINE hn::Mask<D> below(D d, hn::Vec<D> x, float bound) {
  return hn::And(hn::Gt(x, hn::Zero(d)), hn::Lt(x, hn::Set(d, bound)));
}

// One step on the lanes at the pointers.
template <class D>
HWY_INLINE void adam_lanes(D d, const AdamStep& step, hn::Vec<D> gradient, float* parameter, float* first,
                           float* second) {
  const auto old_first = hn::LoadU(d, first), old_second = hn::LoadU(d, second);
  const auto zero = hn::Zero(d);
  // Texels that nothing has touched yet: three reads instead of three reads and three writes.
  if (hn::AllTrue(d, hn::Eq(hn::Or(hn::Or(gradient, old_first), old_second), zero))) return;

  // A first moment under 2⁻⁹⁰ moves nothing (the step is below 1e-12·learning rate for ε = 1e-15) and would
  // soon be subnormal for good.
  const auto moved = hn::MulAdd(hn::Sub(gradient, old_first), hn::Set(d, step.first_decay), old_first);
  const auto new_first = hn::IfThenZeroElse(hn::Lt(hn::Abs(moved), hn::Set(d, 0x1p-90f)), moved);

  SecondMoment<D> new_second;
  const auto tiny = hn::Or(below(d, old_second, 0x1p-100f), below(d, hn::Abs(gradient), 0x1p-55f));
  if (HWY_LIKELY(hn::AllFalse(d, tiny))) {
    new_second.value = hn::MulAdd(hn::Mul(gradient, gradient), hn::Set(d, step.second_decay),
                                  hn::Mul(old_second, hn::Set(d, step.second_keep)));
    new_second.root = hn::Sqrt(new_second.value);
  } else {
    new_second = tiny_second_moment(d, step, gradient, old_second);
  }
  const auto denominator = hn::MulAdd(new_second.root, hn::Set(d, step.root_scale), hn::Set(d, step.epsilon));
  const auto change = hn::Div(hn::Mul(new_first, hn::Set(d, step.step_size)), denominator);
  hn::StoreU(hn::Sub(hn::LoadU(d, parameter), change), d, parameter);
  hn::StoreU(new_first, d, first);
  hn::StoreU(new_second.value, d, second);
}

// Zeroes a gradient that has been used; memory that holds zeros already is not written.
template <class D>
HWY_INLINE void zero_gradient(D d, hn::Vec<D> gradient, float* at) {
  if (!hn::AllTrue(d, hn::Eq(gradient, hn::Zero(d)))) hn::StoreU(hn::Zero(d), d, at);
}

}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
