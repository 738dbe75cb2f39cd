#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/hexplane_regularization.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"

#include "backend/cpu/hexplane_stripes-inl.h"
#include "backend/cpu/simd-inl.h"
#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

// Sums of the squared second differences and of |1-value|; the weighted gradient is added to d_grid unless
// null.
void regularize_stripe(const HexPlaneStripe& stripe, const float* grid, float* d_grid, double sums[2]) {
  double squares = 0, distances = 0;
  walk_stripe(stripe, grid, [&](auto d, int64_t i, auto value, auto difference, auto gradient) HWY_ATTR {
    squares += hn::GetLane(hn::SumOfLanes(d, hn::Mul(difference, difference)));
    if (stripe.time) distances += hn::GetLane(hn::SumOfLanes(d, hn::Abs(hn::Sub(value, hn::Set(d, 1.0f)))));
    if (d_grid) hn::StoreU(hn::Add(hn::LoadU(d, d_grid + i), gradient), d, d_grid + i);
  });
  sums[0] = squares;
  sums[1] = distances;
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(regularize_stripe);

void hexplane_regularization(const HexPlaneRegularization& r) {
  const std::vector<HexPlaneStripe> stripes =
      hexplane_stripes(*r.layout, r.plane_smoothness, r.time_smoothness, r.time_l1);
  std::vector<double> sums(stripes.size() * 2);
  parallel_for(static_cast<int64_t>(stripes.size()), 1, [&](int64_t begin, int64_t) {
    HWY_DYNAMIC_DISPATCH(regularize_stripe)
    (stripes[static_cast<size_t>(begin)], r.grid, r.d_grid, &sums[static_cast<size_t>(begin) * 2]);
  });
  if (!r.values) return;
  std::fill_n(r.values, 3, 0.0);
  for (size_t i = 0; i < stripes.size(); ++i) {
    r.values[stripes[i].time ? 1 : 0] += sums[i * 2] * stripes[i].smoothness_share;
    r.values[2] += sums[i * 2 + 1] * stripes[i].l1_share;
  }
}

}  // namespace eg4d::cpu
#endif
