// Included by files that are compiled once per Highway target, after hwy/highway.h; hence the toggling guard.
#if defined(EG4D_BACKEND_CPU_SIMD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef EG4D_BACKEND_CPU_SIMD_INL_H
#undef EG4D_BACKEND_CPU_SIMD_INL_H
#else
#define EG4D_BACKEND_CPU_SIMD_INL_H
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Calls body(tag, i) so that the lanes of the calls cover [0, count): whole vectors, then groups of at most
// four lanes, then single ones. Nothing beyond count is touched. Lambdas given to it need HWY_ATTR.
template <class Body>
HWY_INLINE void for_lanes(int64_t count, const Body& body) {
  const hn::ScalableTag<float> whole;
  const hn::CappedTag<float, 4> few;
  const hn::CappedTag<float, 1> one;
  int64_t i = 0;
  for (; i + static_cast<int64_t>(hn::Lanes(whole)) <= count; i += hn::Lanes(whole)) body(whole, i);
  for (; i + static_cast<int64_t>(hn::Lanes(few)) <= count; i += hn::Lanes(few)) body(few, i);
  for (; i < count; ++i) body(one, i);
}

}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
