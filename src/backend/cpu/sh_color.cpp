// Spherical-harmonics colours, one Gaussian per vector lane.

#include <algorithm>

#include "backend/cpu/splat_kernels.h"
#include "core/threads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/sh_color.cpp"
#include "backend/cpu/simd_targets.h"

#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "backend/cpu/gaussian_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

constexpr int kBasis = 16;
constexpr int kRest = 45;  // coefficients of a Gaussian beyond the first of each channel, channels innermost

int basis_count(const ShColor& a) {
  return (a.degree + 1) * (a.degree + 1);
}

HWY_INLINE V scaled(float factor, V v) {
  return hn::Mul(set(factor), v);
}

// Real spherical harmonics of degree 0…3 at unit vectors, in the order and sign convention of 3D Gaussian
// splatting.
HWY_INLINE void basis(int degree, const Vector3& v, V (&b)[kBasis]) {
  const V x = v.x, y = v.y, z = v.z;
  b[0] = set(0.28209479177387814f);
  if (degree < 1) return;
  b[1] = scaled(-0.4886025119029199f, y);
  b[2] = scaled(0.4886025119029199f, z);
  b[3] = scaled(-0.4886025119029199f, x);
  if (degree < 2) return;
  const V xx = hn::Mul(x, x), yy = hn::Mul(y, y), zz = hn::Mul(z, z), difference = hn::Sub(xx, yy);
  const V sum = hn::Add(xx, yy);
  b[4] = scaled(1.0925484305920792f, hn::Mul(x, y));
  b[5] = scaled(-1.0925484305920792f, hn::Mul(y, z));
  b[6] = scaled(0.31539156525252005f, hn::Sub(hn::Add(zz, zz), sum));
  b[7] = scaled(-1.0925484305920792f, hn::Mul(x, z));
  b[8] = scaled(0.5462742152960396f, difference);
  if (degree < 3) return;
  const V three = set(3), five = hn::Sub(hn::Mul(set(4), zz), sum);  // 5z² - 1
  b[9] = scaled(-0.5900435899266435f, hn::Mul(y, hn::Sub(hn::Mul(three, xx), yy)));
  b[10] = scaled(2.890611442640554f, hn::Mul(hn::Mul(x, y), z));
  b[11] = scaled(-0.4570457994644658f, hn::Mul(y, five));
  b[12] = scaled(0.3731763325901154f, hn::Mul(z, hn::NegMulAdd(three, sum, hn::Add(zz, zz))));
  b[13] = scaled(-0.4570457994644658f, hn::Mul(x, five));
  b[14] = scaled(1.445305721320277f, hn::Mul(z, difference));
  b[15] = scaled(-0.5900435899266435f, hn::Mul(x, hn::NegMulAdd(three, yy, xx)));
}

// Sum over k of weight[k] times the gradient of the k-th basis function.
HWY_INLINE Vector3 basis_backward(int degree, const Vector3& v, const V (&weight)[kBasis]) {
  const V x = v.x, y = v.y, z = v.z, zero = hn::Zero(D());
  Vector3 d{zero, zero, zero};
  if (degree < 1) return d;
  d = {scaled(-0.4886025119029199f, weight[3]), scaled(-0.4886025119029199f, weight[1]),
       scaled(0.4886025119029199f, weight[2])};
  if (degree < 2) return d;
  const auto add = [&](int k, float factor, const Vector3& along) HWY_ATTR {
    const V w = scaled(factor, weight[k]);
    d = {hn::MulAdd(w, along.x, d.x), hn::MulAdd(w, along.y, d.y), hn::MulAdd(w, along.z, d.z)};
  };
  const V two_x = hn::Add(x, x), two_y = hn::Add(y, y);
  add(4, 1.0925484305920792f, {y, x, zero});
  add(5, -1.0925484305920792f, {zero, z, y});
  add(6, 0.31539156525252005f, {hn::Neg(two_x), hn::Neg(two_y), scaled(4, z)});
  add(7, -1.0925484305920792f, {z, zero, x});
  add(8, 0.5462742152960396f, {two_x, hn::Neg(two_y), zero});
  if (degree < 3) return d;
  const V xx = hn::Mul(x, x), yy = hn::Mul(y, y), zz = hn::Mul(z, z), difference = hn::Sub(xx, yy);
  const V xy = hn::Mul(x, y), xz = hn::Mul(x, z), yz = hn::Mul(y, z), three = set(3);
  add(9, -0.5900435899266435f, {scaled(6, xy), hn::Mul(three, difference), zero});
  add(10, 2.890611442640554f, {yz, xz, xy});
  add(11, -0.4570457994644658f,
      {scaled(-2, xy), hn::NegMulAdd(three, yy, hn::Sub(scaled(4, zz), xx)), scaled(8, yz)});
  add(12, 0.3731763325901154f,
      {scaled(-6, xz), scaled(-6, yz), hn::Mul(three, hn::Sub(hn::Add(zz, zz), hn::Add(xx, yy)))});
  add(13, -0.4570457994644658f,
      {hn::NegMulAdd(three, xx, hn::Sub(scaled(4, zz), yy)), scaled(-2, xy), scaled(8, xz)});
  add(14, 1.445305721320277f, {hn::Mul(two_x, z), hn::Neg(hn::Mul(two_y, z)), difference});
  add(15, -0.5900435899266435f, {hn::Mul(three, difference), scaled(-6, xy), zero});
  return d;
}

struct Direction {
  Vector3 unit;
  V inverse_length;  // 0 for a Gaussian at the camera
};
HWY_INLINE Direction view_direction(const ShColor& a, int64_t first, size_t count) {
  const Vector3 position = load3(a.positions + 3 * first, count);
  const Vector3 v{hn::Sub(position.x, set(a.camera_center[0])), hn::Sub(position.y, set(a.camera_center[1])),
                  hn::Sub(position.z, set(a.camera_center[2]))};
  const V square = dot(v, v);
  const V inverse = hn::IfThenElseZero(hn::Gt(square, hn::Zero(D())), hn::Div(set(1), hn::Sqrt(square)));
  return {{hn::Mul(v.x, inverse), hn::Mul(v.y, inverse), hn::Mul(v.z, inverse)}, inverse};
}

// The coefficients of basis function k.
class Coefficients {
 public:
  Coefficients(const ShColor& a, int64_t first, size_t count)
      : dc_(load3(a.sh_dc + 3 * first, count)), rest_(a.sh_rest + kRest * first) {
    const DI di;
    const auto row = hn::Min(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(count) - 1));
    offset_ = hn::Mul(row, hn::Set(di, kRest));
  }
  HWY_INLINE Vector3 operator[](int k) const {
    if (k == 0) return dc_;
    const D d;
    const float* rest = rest_ + 3 * (k - 1);
    return {hn::GatherIndex(d, rest, offset_), hn::GatherIndex(d, rest + 1, offset_),
            hn::GatherIndex(d, rest + 2, offset_)};
  }

 private:
  Vector3 dc_;
  const float* rest_;
  hn::Vec<DI> offset_;
};

HWY_INLINE Vector3 multiply_add(V factor, const Vector3& v, const Vector3& sum) {
  return {hn::MulAdd(factor, v.x, sum.x), hn::MulAdd(factor, v.y, sum.y), hn::MulAdd(factor, v.z, sum.z)};
}

HWY_INLINE V plus_half_positive(V color) {
  return hn::Max(hn::Add(color, set(0.5f)), hn::Zero(D()));
}

void forward_lanes(const ShColor& a, int64_t first, size_t count) {
  const Direction direction = view_direction(a, first, count);
  V b[kBasis];
  basis(a.degree, direction.unit, b);
  const Coefficients coefficients(a, first, count);
  const V zero = hn::Zero(D());
  Vector3 color{zero, zero, zero};
  for (int k = 0; k < basis_count(a); ++k) color = multiply_add(b[k], coefficients[k], color);
  if (a.gain_bias) {
    const Quaternion gain_bias = load4(a.gain_bias + 4 * first, count);
    color = multiply_add(hn::Add(set(1), gain_bias.w), color, {gain_bias.x, gain_bias.y, gain_bias.z});
  }
  store3({plus_half_positive(color.x), plus_half_positive(color.y), plus_half_positive(color.z)},
         a.colors + 3 * first, count);
}

// d_rest[k-1][channel] += b[k]·d_sh[channel] for every Gaussian, whose 45 floats lie side by side: vectors
// along them.
void add_rest(const ShColorBackward& backward, int64_t first, size_t count, const V (&b)[kBasis],
              const Vector3& d_sh) {
  const ShColor& a = backward.forward;
  const D d;
  const DI di;
  const int lanes = static_cast<int>(hn::Lanes(d)), used = 3 * (basis_count(a) - 1);
  HWY_ALIGN float by_basis[kBasis][16], channels[3][16];
  for (int k = 1; k < kBasis; ++k) hn::Store(k < basis_count(a) ? b[k] : hn::Zero(d), d, by_basis[k]);
  hn::Store(d_sh.x, d, channels[0]);
  hn::Store(d_sh.y, d, channels[1]);
  hn::Store(d_sh.z, d, channels[2]);
  HWY_ALIGN static constexpr int32_t kThirds[48] = {
      0, 0, 0, 1, 1, 1, 2,  2,  2,  3,  3,  3,  4,  4,  4,  5,  5,  5,  6,  6,  6,  7,  7,  7,
      8, 8, 8, 9, 9, 9, 10, 10, 10, 11, 11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15};
  for (size_t lane = 0; lane < count; ++lane) {
    HWY_ALIGN float own[32] = {}, color[48];
    for (int k = 1; k < kBasis; ++k) own[k - 1] = by_basis[k][lane];
    for (int i = 0; i < 48; ++i) color[i] = channels[i % 3][lane];
    float* row = backward.d_sh_rest + kRest * (first + static_cast<int64_t>(lane));
    for (int done = 0; done < used; done += lanes) {
      const int i = std::min(done, kRest - lanes);  // the last vector may overlap the one before
      const auto fresh = hn::RebindMask(d, hn::Gt(hn::Iota(di, i), hn::Set(di, done - 1)));
      const auto third = hn::Sub(hn::LoadU(di, kThirds + i), hn::Set(di, i / 3));
      const V value = hn::Mul(hn::TableLookupLanes(hn::LoadU(d, own + i / 3), hn::IndicesFromVec(d, third)),
                              hn::LoadU(d, color + i));
      hn::StoreU(hn::Add(hn::LoadU(d, row + i), hn::IfThenElseZero(fresh, value)), d, row + i);
    }
  }
}

void backward_lanes(const ShColorBackward& backward, int64_t first, size_t count) {
  const ShColor& a = backward.forward;
  const D d;
  const V zero = hn::Zero(d), one = set(1);
  const Direction direction = view_direction(a, first, count);
  V b[kBasis];
  basis(a.degree, direction.unit, b);
  const Coefficients coefficients(a, first, count);
  // A clamped colour has no gradient.
  const Vector3 color = load3(a.colors + 3 * first, count);
  Vector3 d_color = load3(backward.d_colors + 3 * first, count);
  d_color = {hn::IfThenElseZero(hn::Gt(color.x, zero), d_color.x),
             hn::IfThenElseZero(hn::Gt(color.y, zero), d_color.y),
             hn::IfThenElseZero(hn::Gt(color.z, zero), d_color.z)};
  const V factor = a.gain_bias ? hn::Add(one, load4(a.gain_bias + 4 * first, count).w) : one;
  const Vector3 d_sh{hn::Mul(factor, d_color.x), hn::Mul(factor, d_color.y), hn::Mul(factor, d_color.z)};
  V weight[kBasis], d_gain = zero;
  for (int k = 0; k < basis_count(a); ++k) {
    const V along = dot(coefficients[k], d_color);
    d_gain = hn::MulAdd(b[k], along, d_gain);
    weight[k] = hn::Mul(factor, along);
  }
  if (a.gain_bias && backward.d_gain_bias)
    add4({d_gain, d_color.x, d_color.y, d_color.z}, backward.d_gain_bias + 4 * first, count);
  if (backward.d_sh_dc)
    add3(multiply_add(b[0], d_sh, {zero, zero, zero}), backward.d_sh_dc + 3 * first, count);
  if (backward.d_sh_rest && a.degree > 0) add_rest(backward, first, count, b, d_sh);
  if (backward.d_positions && a.degree > 0) {
    // Through the normalisation: what lies along the direction has no effect.
    const Vector3 d_unit = basis_backward(a.degree, direction.unit, weight);
    const Vector3 across = multiply_add(hn::Neg(dot(d_unit, direction.unit)), direction.unit, d_unit);
    add3(multiply_add(direction.inverse_length, across, {zero, zero, zero}), backward.d_positions + 3 * first,
         count);
  }
}

void sh_forward(const ShColor& a, int64_t begin, int64_t end) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
  for (int64_t i = begin; i < end; i += lanes)
    forward_lanes(a, i, static_cast<size_t>(std::min(lanes, end - i)));
}

void sh_backward(const ShColorBackward& a, int64_t begin, int64_t end) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
  for (int64_t i = begin; i < end; i += lanes)
    backward_lanes(a, i, static_cast<size_t>(std::min(lanes, end - i)));
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {
namespace {
constexpr int64_t kGrain = 128;
HWY_EXPORT(sh_forward);
HWY_EXPORT(sh_backward);
}  // namespace

void sh_color_forward(const ShColor& a) {
  parallel_for(a.count, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(sh_forward)(a, begin, end);
  });
}

void sh_color_backward(const ShColorBackward& a) {
  parallel_for(a.forward.count, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(sh_backward)(a, begin, end);
  });
}

}  // namespace eg4d::cpu
#endif
