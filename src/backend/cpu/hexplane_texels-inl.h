// Included by files that are compiled once per Highway target; hence the toggling guard.
#if defined(EG4D_BACKEND_CPU_HEXPLANE_TEXELS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef EG4D_BACKEND_CPU_HEXPLANE_TEXELS_INL_H
#undef EG4D_BACKEND_CPU_HEXPLANE_TEXELS_INL_H
#else
#define EG4D_BACKEND_CPU_HEXPLANE_TEXELS_INL_H
#endif

#include "backend/cpu/hexplane_sampling.h"
#include "backend/cpu/simd-inl.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {

// The four texels of one plane around a point.
struct Texels {
  const float* upper;
  const float* lower;
  int64_t right;
  float x, y;  // weights of the right and the lower texels

  // Interpolated channels c, c+1, …
  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, int64_t c) const {
    const auto top_left = hn::LoadU(d, upper + c), bottom_left = hn::LoadU(d, lower + c);
    const auto weight = hn::Set(d, x);
    const auto top = hn::MulAdd(weight, hn::Sub(hn::LoadU(d, upper + right + c), top_left), top_left);
    const auto bottom =
        hn::MulAdd(weight, hn::Sub(hn::LoadU(d, lower + right + c), bottom_left), bottom_left);
    return hn::MulAdd(hn::Set(d, y), hn::Sub(bottom, top), top);
  }
};
struct PointTexels {
  Texels plane[6];
};
HWY_INLINE PointTexels point_texels(const float* grid, const PointSample& sample, const HexPlaneLevel& level,
                                    int channels) {
  PointTexels texels;
  for (int p = 0; p < 6; ++p) {
    const float* upper = grid + texel_offset(sample, level, channels, p);
    texels.plane[p] = {upper, upper + level.planes[p].down, level.planes[p].right,
                       sample.axis[kHexPlanePairs[p][0]].weight, sample.axis[kHexPlanePairs[p][1]].weight};
  }
  return texels;
}

// A level's planes are far larger than the caches and the points come in any order: ask for the texels of a
// point that is a few points ahead.
constexpr int64_t kPrefetchDistance = 4;

HWY_INLINE void prefetch_texels(const float* grid, const PointSample& sample, const HexPlaneLevel& level,
                                int channels) {
  for (int p = 0; p < 6; ++p) {
    const float* upper = grid + texel_offset(sample, level, channels, p);
    const float* lower = upper + level.planes[p].down;
    for (int64_t c = 0; c < 2 * channels; c += 16) {
      hwy::Prefetch(upper + c);
      hwy::Prefetch(lower + c);
    }
  }
}

}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
