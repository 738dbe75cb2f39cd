// One Gaussian per vector lane: arrays with a few floats per Gaussian as vectors. Included once per
// instruction set.

#if defined(EG4D_GAUSSIAN_LANES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef EG4D_GAUSSIAN_LANES_INL
#undef EG4D_GAUSSIAN_LANES_INL
#else
#define EG4D_GAUSSIAN_LANES_INL
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<D>;
using V = hn::Vec<D>;
using M = hn::Mask<D>;

HWY_INLINE V set(float value) {
  return hn::Set(D(), value);
}

struct Vector3 {
  V x, y, z;
};
HWY_INLINE V dot(const Vector3& a, const Vector3& b) {
  return hn::MulAdd(a.x, b.x, hn::MulAdd(a.y, b.y, hn::Mul(a.z, b.z)));
}
// Rows of floats, one per lane. Of the last Gaussians there may be less than a vector; then the missing rows
// read as zero and are not written.
HWY_INLINE bool is_whole(size_t count) {
  return count == hn::Lanes(D());
}
template <size_t kColumns>
HWY_NOINLINE inline void copy_padded(const float* rows, size_t count, float* padded) {
  std::fill_n(padded, kColumns * 16, 0.0f);
  std::copy_n(rows, kColumns * count, padded);
}
HWY_INLINE Vector3 load3(const float* rows, size_t count) {
  Vector3 v;
  HWY_ALIGN float padded[3 * 16];
  if (HWY_UNLIKELY(!is_whole(count))) copy_padded<3>(rows, count, padded), rows = padded;
  hn::LoadInterleaved3(D(), rows, v.x, v.y, v.z);
  return v;
}
HWY_INLINE void store3(const Vector3& v, float* rows, size_t count) {
  HWY_ALIGN float padded[3 * 16];
  const bool whole = is_whole(count);
  hn::StoreInterleaved3(v.x, v.y, v.z, D(), whole ? rows : padded);
  if (HWY_UNLIKELY(!whole)) std::copy_n(padded, 3 * count, rows);
}
HWY_INLINE void add3(const Vector3& v, float* rows, size_t count) {
  const Vector3 old = load3(rows, count);
  store3({hn::Add(old.x, v.x), hn::Add(old.y, v.y), hn::Add(old.z, v.z)}, rows, count);
}

// Also for other rows of four.
struct Quaternion {
  V w, x, y, z;
};
HWY_INLINE Quaternion load4(const float* rows, size_t count) {
  Quaternion q;
  HWY_ALIGN float padded[4 * 16];
  if (HWY_UNLIKELY(!is_whole(count))) copy_padded<4>(rows, count, padded), rows = padded;
  hn::LoadInterleaved4(D(), rows, q.w, q.x, q.y, q.z);
  return q;
}
HWY_INLINE void add4(const Quaternion& q, float* rows, size_t count) {
  const Quaternion old = load4(rows, count);
  HWY_ALIGN float padded[4 * 16];
  const bool whole = is_whole(count);
  hn::StoreInterleaved4(hn::Add(old.w, q.w), hn::Add(old.x, q.x), hn::Add(old.y, q.y), hn::Add(old.z, q.z),
                        D(), whole ? rows : padded);
  if (HWY_UNLIKELY(!whole)) std::copy_n(padded, 4 * count, rows);
}
HWY_INLINE V load1(const float* values, size_t count) {
  HWY_ALIGN float padded[16];
  if (HWY_UNLIKELY(!is_whole(count))) copy_padded<1>(values, count, padded), values = padded;
  return hn::LoadU(D(), values);
}
HWY_INLINE void add1(V v, float* values, size_t count) {
  HWY_ALIGN float padded[16];
  const bool whole = is_whole(count);
  hn::StoreU(hn::Add(load1(values, count), v), D(), whole ? values : padded);
  if (HWY_UNLIKELY(!whole)) std::copy_n(padded, count, values);
}

}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
