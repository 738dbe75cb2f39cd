#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/image_loss.cpp"
#include "backend/cpu/simd_targets.h"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <vector>

#include "backend/cpu/simd-inl.h"
#include "backend/cpu/splat_kernels.h"
#include "backend/cpu/ssim.h"
#include "core/threads.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

// Sums of |a-b| and (a-b)² over [begin, end); writes weight·sign(a-b) to d_image unless null.
void differences(const ImageLoss& loss, int64_t begin, int64_t end, float weight, double sums[2]) {
  double absolute = 0, square = 0;
  for_lanes(end - begin, [&](auto d, int64_t offset) HWY_ATTR {
    const int64_t i = begin + offset;
    const auto difference = hn::Sub(hn::LoadU(d, loss.image + i), hn::LoadU(d, loss.target + i));
    absolute += hn::GetLane(hn::SumOfLanes(d, hn::Abs(difference)));
    square += hn::GetLane(hn::SumOfLanes(d, hn::Mul(difference, difference)));
    if (!loss.d_image) return;
    const auto size = hn::Set(d, weight);
    const auto positive = hn::IfThenElseZero(hn::Gt(difference, hn::Zero(d)), size);
    const auto negative = hn::IfThenElseZero(hn::Lt(difference, hn::Zero(d)), size);
    hn::StoreU(hn::Sub(positive, negative), d, loss.d_image + i);
  });
  sums[0] = absolute;
  sums[1] = square;
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {

HWY_EXPORT(differences);

void image_loss(const ImageLoss& loss) {
  const int64_t count = int64_t{3} * loss.width * loss.height;
  const double samples = static_cast<double>(std::max<int64_t>(count, 1));
  const float weight = static_cast<float>(loss.l1_weight / samples);
  constexpr int64_t kGrain = 1 << 14;
  std::vector<double> sums(static_cast<size_t>((count + kGrain - 1) / kGrain) * 2);
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(differences)
    (loss, begin, end, weight, &sums[static_cast<size_t>(begin / kGrain) * 2]);
  });
  double similarity = 0;
  if (loss.dssim_weight != 0 || loss.want_ssim) {
    similarity = ssim(loss.image, loss.target, loss.width, loss.height, -loss.dssim_weight,
                      loss.dssim_weight != 0 ? loss.d_image : nullptr);
  }
  if (!loss.values) return;
  double absolute = 0, square = 0;
  for (size_t i = 0; i < sums.size(); i += 2) {
    absolute += sums[i];
    square += sums[i + 1];
  }
  loss.values[0] = absolute / samples;
  loss.values[1] = similarity;
  loss.values[2] = square / samples;
  loss.values[3] = loss.l1_weight * loss.values[0];
  if (loss.dssim_weight != 0) loss.values[3] += loss.dssim_weight * (1 - similarity);
}

}  // namespace eg4d::cpu
#endif
