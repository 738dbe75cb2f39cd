// Elementary functions on Highway vectors. Included once per instruction set, as Highway's own -inl.h headers
// are.

#if defined(EG4D_BACKEND_CPU_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EG4D_BACKEND_CPU_VECTOR_MATH_INL_H_
#undef EG4D_BACKEND_CPU_VECTOR_MATH_INL_H_
#else
#define EG4D_BACKEND_CPU_VECTOR_MATH_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {

// 2^x, relative error below 3e-7; 0 below -126, at most 2^127. The polynomial interpolates 2^x at the
// Chebyshev nodes of
// [-1/2, 1/2].
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V exp2(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Rebind<int32_t, D> di;
  const V bounded = hn::Min(hn::Max(x, hn::Set(d, -127.0f)), hn::Set(d, 127.0f));
  // Adding 1.5·2^23 rounds to whole numbers and leaves them in the lowest bits; those of 1.5·2^23 itself are
  // shifted out below.
  const V magic = hn::Set(d, 12582912.0f);
  const V shifted = hn::Add(bounded, magic);
  const V f = hn::Sub(bounded, hn::Sub(shifted, magic));
  V p = hn::Set(d, 0.00015461444695632573f);
  p = hn::MulAdd(p, f, hn::Set(d, 0.0013400428177416093f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.00961805667853236f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.05550327226670846f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.2402265092228873f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.6931472067028324f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  // -127 gives the bits of 0.
  const auto bits = hn::ShiftLeft<23>(hn::Add(hn::BitCast(di, shifted), hn::Set(di, 127)));
  return hn::Mul(p, hn::BitCast(d, bits));
}

template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V exp(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  return exp2(d, hn::Mul(x, hn::Set(d, 1.4426950408889634f)));
}

// x·sigmoid(x)
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V silu(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), cpu::HWY_NAMESPACE::exp(d, hn::Neg(x))));
}

// x·sigmoid(1.702·x)
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V quick_gelu(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const V power = cpu::HWY_NAMESPACE::exp(d, hn::Mul(x, hn::Set(d, -1.702f)));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), power));
}

// x·Φ(x) with erf from Abramowitz & Stegun 7.1.26 (absolute error below 1.5e-7).
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V gelu(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const V one = hn::Set(d, 1.0f);
  const V z = hn::Mul(hn::Abs(x), hn::Set(d, 0.70710678118654752f));
  const V t = hn::Div(one, hn::MulAdd(z, hn::Set(d, 0.3275911f), one));
  V p = hn::Set(d, 1.061405429f);
  p = hn::MulAdd(p, t, hn::Set(d, -1.453152027f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.421413741f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.284496736f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.254829592f));
  const V tail = hn::Mul(hn::Mul(p, t), cpu::HWY_NAMESPACE::exp(d, hn::Neg(hn::Mul(z, z))));  // 1 - erf(z)
  // Φ(x) = 1 - tail/2 for x ≥ 0, tail/2 below.
  const V half_tail = hn::Mul(tail, hn::Set(d, 0.5f));
  const V phi = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), half_tail, hn::Sub(one, half_tail));
  return hn::Mul(x, phi);
}

}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
