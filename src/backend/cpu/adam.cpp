#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/adam.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"

#include "backend/cpu/adam_step-inl.h"
#include "backend/cpu/simd-inl.h"
#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

void adam_range(const Adam& a, const AdamStep& step, int64_t begin, int64_t end) {
  for_lanes(end - begin, [&](auto d, int64_t offset) HWY_ATTR {
    const int64_t i = begin + offset;
    const auto gradient = hn::LoadU(d, a.gradient + i);
    adam_lanes(d, step, gradient, a.parameter + i, a.first_moment + i, a.second_moment + i);
    zero_gradient(d, gradient, a.gradient + i);
  });
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(adam_range);

void adam(const Adam& a) {
  const AdamStep step(a);
  parallel_for(a.count, 1 << 12, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(adam_range)(a, step, begin, end);
  });
}

}  // namespace eg4d::cpu
#endif
