#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/hexplane_adam.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"

#include "backend/cpu/adam_step-inl.h"
#include "backend/cpu/hexplane_stripes-inl.h"
#include "backend/cpu/simd-inl.h"
#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

// The regularisers' gradient comes from the values before the step (walk_stripe reads two rows ahead of the
// changes).
void adam_stripe(const Adam& a, const AdamStep& step, const HexPlaneStripe& stripe) {
  walk_stripe(stripe, a.parameter, [&](auto d, int64_t i, auto, auto, auto regularizer) HWY_ATTR {
    const auto given = hn::LoadU(d, a.gradient + i);
    adam_lanes(d, step, hn::Add(given, regularizer), a.parameter + i, a.first_moment + i,
               a.second_moment + i);
    zero_gradient(d, given, a.gradient + i);
  });
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(adam_stripe);

void hexplane_adam(const HexPlaneAdam& a) {
  const AdamStep step(a.adam);
  // Many threads need small pieces (four of a plane of 64×64 texels with 16 channels); few are quicker along
  // whole rows. A texel's step does not depend on them.
  const int64_t widest = thread_count() > 4 ? 256 : HexPlaneStripe::kWidth;
  const std::vector<HexPlaneStripe> stripes = hexplane_stripes(
      a.context->description.planes, a.plane_smoothness, a.time_smoothness, a.time_l1, widest);
  parallel_for(static_cast<int64_t>(stripes.size()), 1, [&](int64_t begin, int64_t) {
    HWY_DYNAMIC_DISPATCH(adam_stripe)(a.adam, step, stripes[static_cast<size_t>(begin)]);
  });
}

}  // namespace eg4d::cpu
#endif
