// From the derivatives of Gaussians in the image to those of Gaussians in the world, one Gaussian per vector
// lane.

#include <algorithm>

#include "backend/cpu/rasterizer.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rasterizer_projection_backward.cpp"
#include "backend/cpu/simd_targets.h"

#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "backend/cpu/rasterizer_geometry-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

// Any number of columns through memory, for what is rare.
template <size_t kColumns>
void add_columns(const V (&values)[kColumns], float* rows, size_t count) {
  HWY_ALIGN float lanes[kColumns][16];
  for (size_t k = 0; k < kColumns; ++k) hn::Store(values[k], D(), lanes[k]);
  for (size_t i = 0; i < count; ++i)
    for (size_t k = 0; k < kColumns; ++k) rows[i * kColumns + k] += lanes[k][i];
}

HWY_INLINE Vector3 where(M mask, const Vector3& v) {
  return {hn::IfThenElseZero(mask, v.x), hn::IfThenElseZero(mask, v.y), hn::IfThenElseZero(mask, v.z)};
}
HWY_INLINE Symmetric2 where(M mask, const Symmetric2& s) {
  return {hn::IfThenElseZero(mask, s.xx), hn::IfThenElseZero(mask, s.xy), hn::IfThenElseZero(mask, s.yy)};
}

// From the conic Q to the covariance it is the inverse of: -Q·G·Q with G the derivative as a matrix; entry xy
// stands for two equal ones.
HWY_INLINE Symmetric2 conic_backward(const Symmetric2& q, const Symmetric2& d_q) {
  const V half_xy = hn::Mul(set(0.5f), d_q.xy);
  const V ax = hn::MulAdd(d_q.xx, q.xx, hn::Mul(half_xy, q.xy)),
          ay = hn::MulAdd(half_xy, q.xx, hn::Mul(d_q.yy, q.xy));
  const V bx = hn::MulAdd(d_q.xx, q.xy, hn::Mul(half_xy, q.yy)),
          by = hn::MulAdd(half_xy, q.xy, hn::Mul(d_q.yy, q.yy));
  return {hn::NegMulSub(q.xx, ax, hn::Mul(q.xy, ay)),
          hn::Mul(set(-2), hn::MulAdd(q.xx, bx, hn::Mul(q.xy, by))),
          hn::NegMulSub(q.xy, bx, hn::Mul(q.yy, by))};
}

// The mean moves the splat in the image (d_ndc) and changes the projection's jacobian (through d_c).
HWY_INLINE Vector3 mean_backward(const RasterizeCamera& camera, const Vector3& mean, const View& v,
                                 const Symmetric3& s, const Symmetric2& d_c, V d_ndc_x, V d_ndc_y) {
  const Vector3 s0 = s * v.t0, s1 = s * v.t1;
  const V twice_xx = hn::Add(d_c.xx, d_c.xx), twice_yy = hn::Add(d_c.yy, d_c.yy);
  const Vector3 d_t0{hn::MulAdd(twice_xx, s0.x, hn::Mul(d_c.xy, s1.x)),
                     hn::MulAdd(twice_xx, s0.y, hn::Mul(d_c.xy, s1.y)),
                     hn::MulAdd(twice_xx, s0.z, hn::Mul(d_c.xy, s1.z))};
  const Vector3 d_t1{hn::MulAdd(twice_yy, s1.x, hn::Mul(d_c.xy, s0.x)),
                     hn::MulAdd(twice_yy, s1.y, hn::Mul(d_c.xy, s0.y)),
                     hn::MulAdd(twice_yy, s1.z, hn::Mul(d_c.xy, s0.z))};
  const float* w = camera.world_to_view;
  // The jacobian is focal_x/z·(1, 0, -tangent_x), focal_y/z·(0, 1, -tangent_y). As published, a clamped
  // coordinate counts as a constant x = tangent·z.
  const V inverse_z2 = hn::Mul(v.inverse_z, v.inverse_z);
  const V along_x = hn::Mul(v.focal_x, inverse_z2), along_y = hn::Mul(v.focal_y, inverse_z2);
  const V d_j02 = hn::Mul(along_x, column(d_t0, w, 2)), d_j12 = hn::Mul(along_y, column(d_t1, w, 2));
  const V d_j00 = hn::Mul(along_x, column(d_t0, w, 0)), d_j11 = hn::Mul(along_y, column(d_t1, w, 1));
  const V twice = hn::Mul(set(2), hn::MulAdd(v.tangent_x, d_j02, hn::Mul(v.tangent_y, d_j12)));
  const Vector3 d_view{hn::Neg(hn::IfThenElseZero(v.free_x, d_j02)),
                       hn::Neg(hn::IfThenElseZero(v.free_y, d_j12)), hn::Sub(twice, hn::Add(d_j00, d_j11))};
  const Clip clip = clip_of(camera, mean);
  const V d_x = hn::Mul(d_ndc_x, clip.inverse_w), d_y = hn::Mul(d_ndc_y, clip.inverse_w);
  const V d_w = hn::Neg(hn::Mul(hn::MulAdd(clip.x, d_x, hn::Mul(clip.y, d_y)), clip.inverse_w));
  const float* m = camera.full_projection;
  const Vector3 d_clip{d_x, d_y, d_w};
  V out[3];
  for (int k = 0; k < 3; ++k) {
    out[k] = hn::Add(dot({set(w[4 * k]), set(w[4 * k + 1]), set(w[4 * k + 2])}, d_view),
                     dot({set(m[4 * k]), set(m[4 * k + 1]), set(m[4 * k + 3])}, d_clip));
  }
  return {out[0], out[1], out[2]};
}

// With respect to the six entries of the 3D covariance; those off the diagonal stand for two equal ones.
HWY_INLINE Symmetric3 covariance_backward(const View& v, const Symmetric2& d_c) {
  const Vector3 &a = v.t0, &b = v.t1;
  const auto entry = [&](V a0, V a1, V b0, V b1) HWY_ATTR {
    const V both = hn::MulAdd(hn::Mul(d_c.xx, a0), a1, hn::Mul(hn::Mul(d_c.yy, b0), b1));
    return hn::MulAdd(set(2), both, hn::Mul(d_c.xy, hn::MulAdd(a0, b1, hn::Mul(a1, b0))));
  };
  const V half = set(0.5f);
  return {hn::Mul(half, entry(a.x, a.x, b.x, b.x)),
          entry(a.x, a.y, b.x, b.y),
          entry(a.x, a.z, b.x, b.z),
          hn::Mul(half, entry(a.y, a.y, b.y, b.y)),
          entry(a.y, a.z, b.y, b.z),
          hn::Mul(half, entry(a.z, a.z, b.z, b.z))};
}

void shape_backward(const RasterizeBackward& b, const Shape& shape, const Symmetric3& d_s, M seen,
                    int64_t first, size_t count) {
  const V two = set(2);
  const Symmetric3 twice{hn::Mul(two, d_s.xx), d_s.xy, d_s.xz,
                         hn::Mul(two, d_s.yy), d_s.yz, hn::Mul(two, d_s.zz)};
  const Vector3* r = shape.rotation.column;
  const V scale[3] = {shape.scale.x, shape.scale.y, shape.scale.z};
  V d_scale[3];
  Vector3 d_r[3];  // columns
  for (int k = 0; k < 3; ++k) {
    const Vector3 d_m = twice * scaled(r[k], scale[k]);
    d_scale[k] = dot(d_m, r[k]);
    d_r[k] = scaled(d_m, scale[k]);
  }
  if (b.d_scales)
    add3(where(seen, Vector3{d_scale[0], d_scale[1], d_scale[2]}), b.d_scales + 3 * first, count);
  if (!b.d_rotations) return;
  const Quaternion& q = shape.quaternion;
  const V x_turn = hn::Sub(d_r[1].z, d_r[2].y), y_turn = hn::Sub(d_r[2].x, d_r[0].z),
          z_turn = hn::Sub(d_r[0].y, d_r[1].x);
  const V xy = hn::Add(d_r[1].x, d_r[0].y), xz = hn::Add(d_r[2].x, d_r[0].z),
          yz = hn::Add(d_r[2].y, d_r[1].z);
  const V xx = hn::Mul(two, hn::Add(d_r[1].y, d_r[2].z)), yy = hn::Mul(two, hn::Add(d_r[0].x, d_r[2].z));
  const V zz = hn::Mul(two, hn::Add(d_r[0].x, d_r[1].y));
  const Vector3 xyz{q.x, q.y, q.z};
  const Quaternion half{dot(xyz, {x_turn, y_turn, z_turn}),
                        hn::NegMulAdd(q.x, xx, dot({q.y, q.z, q.w}, {xy, xz, x_turn})),
                        hn::NegMulAdd(q.y, yy, dot({q.x, q.z, q.w}, {xy, yz, y_turn})),
                        hn::NegMulAdd(q.z, zz, dot({q.x, q.y, q.w}, {xz, yz, z_turn}))};
  const auto doubled = [&](V value) HWY_ATTR { return hn::IfThenElseZero(seen, hn::Add(value, value)); };
  add4({doubled(half.w), doubled(half.x), doubled(half.y), doubled(half.z)}, b.d_rotations + 4 * first,
       count);
}

// Adds up the partial sums of each Gaussian in the order of its tiles and tells which lanes have any.
M sum_partials(const RasterizerContext& context, int64_t first, size_t count, V (&sums)[kPartialSums]) {
  const D d;
  HWY_ALIGN float lanes[kPartialSums][16] = {};
  HWY_ALIGN float pairs_of[16] = {};
  for (size_t lane = 0; lane < count; ++lane) {
    const int64_t i = first + static_cast<int64_t>(lane);
    const int64_t pairs = context.boxes[i].area();
    if (pairs == 0) continue;
    pairs_of[lane] = 1;
    const float* line = context.partial.data() + int64_t{context.boxes[i].first_slot} * kPartial;
    HWY_ALIGN float sum[kPartial];
    for (size_t k = 0; k < kPartial; k += hn::Lanes(d)) {
      V total = hn::Load(d, line + k);
      for (int64_t pair = 1; pair < pairs; ++pair)
        total = hn::Add(total, hn::Load(d, line + pair * kPartial + k));
      hn::Store(total, d, sum + k);
    }
    for (int k = 0; k < kPartialSums; ++k) lanes[k][lane] = sum[k];
  }
  for (int k = 0; k < kPartialSums; ++k) sums[k] = hn::Load(d, lanes[k]);
  return hn::Gt(hn::Load(d, pairs_of), hn::Zero(d));
}

void project_backward_lanes(const RasterizeBackward& b, const RasterizerContext& context, int64_t first,
                            size_t count) {
  const RasterizeForward& f = b.forward;
  V sums[kPartialSums];
  const M seen = sum_partials(context, first, count, sums);
  if (hn::AllFalse(D(), seen)) return;
  if (b.d_colors) add3({sums[kWr], sums[kWg], sums[kWb]}, b.d_colors + 3 * first, count);
  if (b.d_opacities) {
    const V opacity = load1(f.opacities + first, count);
    add1(hn::IfThenElseZero(seen, hn::Div(sums[kG], opacity)), b.d_opacities + first, count);
  }
  // A lane without partial sums may hold anything, so what follows is masked.
  const Vector3 mean = load3(f.means + 3 * first, count);
  const View v = view_of(*f.camera, f.width, f.height, mean);
  const Shape shape = load_shape(f, first, count);
  const Symmetric2 c = covariance_2d(v, shape.covariance);
  const V inverse = hn::Div(set(1), c.determinant());
  const Symmetric2 conic{hn::Mul(c.yy, inverse), hn::Neg(hn::Mul(c.xy, inverse)), hn::Mul(c.xx, inverse)};
  const V d_x = hn::NegMulSub(conic.xx, sums[kGx], hn::Mul(conic.xy, sums[kGy]));
  const V d_y = hn::NegMulSub(conic.xy, sums[kGx], hn::Mul(conic.yy, sums[kGy]));
  const V d_ndc[2] = {hn::IfThenElseZero(seen, hn::Mul(d_x, set(0.5f * static_cast<float>(f.width)))),
                      hn::IfThenElseZero(seen, hn::Mul(d_y, set(0.5f * static_cast<float>(f.height))))};
  if (b.d_means_ndc) add_columns(d_ndc, b.d_means_ndc + 2 * first, count);
  const V minus_half = set(-0.5f);
  const Symmetric2 d_conic{hn::Mul(minus_half, sums[kGxx]), hn::Neg(sums[kGxy]),
                           hn::Mul(minus_half, sums[kGyy])};
  const Symmetric2 d_c = where(seen, conic_backward(conic, d_conic));
  if (b.d_means) {
    const Vector3 d_mean = mean_backward(*f.camera, mean, v, shape.covariance, d_c, d_ndc[0], d_ndc[1]);
    add3(where(seen, d_mean), b.d_means + 3 * first, count);
  }
  const Symmetric3 d_s = covariance_backward(v, d_c);
  shape_backward(b, shape, d_s, seen, first, count);
}

void project_backward_range(const RasterizeBackward& b, const RasterizerContext& context, int64_t begin,
                            int64_t end) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
  for (int64_t i = begin; i < end; i += lanes)
    project_backward_lanes(b, context, i, static_cast<size_t>(std::min(lanes, end - i)));
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eg4d::cpu {
namespace {
HWY_EXPORT(project_backward_range);
}  // namespace

void project_backward(const RasterizeBackward& backward, const RasterizerContext& context, int64_t begin,
                      int64_t end) {
  HWY_DYNAMIC_DISPATCH(project_backward_range)(backward, context, begin, end);
}

}  // namespace eg4d::cpu
#endif
