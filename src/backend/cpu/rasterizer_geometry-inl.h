// Where Gaussians lie in the image and what shape they have there, one Gaussian per vector lane. Included
// once per instruction set.

#if defined(EG4D_RASTERIZER_GEOMETRY_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef EG4D_RASTERIZER_GEOMETRY_INL
#undef EG4D_RASTERIZER_GEOMETRY_INL
#else
#define EG4D_RASTERIZER_GEOMETRY_INL
#endif

#include "backend/cpu/gaussian_lanes-inl.h"
#include "backend/splat_ops.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

using hn::Abs, hn::Add, hn::Div, hn::Le, hn::Max, hn::Min, hn::Mul, hn::MulAdd, hn::Neg, hn::NegMulAdd,
    hn::Sub;
HWY_INLINE Vector3 scaled(const Vector3& v, V factor) {
  return {Mul(v.x, factor), Mul(v.y, factor), Mul(v.z, factor)};
}

#define EG4D_OF_GAUSSIANS HWY_INLINE
#include "backend/gaussian_projection-inl.h"
#undef EG4D_OF_GAUSSIANS

// The parameters of up to one Gaussian per lane.
HWY_INLINE Shape load_shape(const RasterizeForward& f, int64_t i, size_t count) {
  return shape_of(load4(f.rotations + 4 * i, count), load3(f.scales + 3 * i, count));
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
