// Where Gaussians lie in the image and what shape they have there: what the projection and its backward pass
// both compute. Included once per instruction set.

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

constexpr float kLowPass = 0.3f, kTangentMargin = 1.3f;
constexpr float kClipGuard = 1e-7f;

// Column k of the first three rows of a row-major 4×4 matrix, times a.
HWY_INLINE V column(const Vector3& a, const float m[16], int k) {
  return hn::MulAdd(a.x, set(m[k]), hn::MulAdd(a.y, set(m[4 + k]), hn::Mul(a.z, set(m[8 + k]))));
}

// Symmetric 3×3 matrix.
struct Symmetric3 {
  V xx, xy, xz, yy, yz, zz;
};
HWY_INLINE Vector3 operator*(const Symmetric3& s, const Vector3& v) {
  return {dot({s.xx, s.xy, s.xz}, v), dot({s.xy, s.yy, s.yz}, v), dot({s.xz, s.yz, s.zz}, v)};
}

// Columns of the rotation matrix of (w,x,y,z).
struct Rotation {
  Vector3 column[3];
};
HWY_INLINE Rotation rotation_of(const Quaternion& q) {
  const V one = set(1), two = set(2);
  const V xx = hn::Mul(q.x, q.x), yy = hn::Mul(q.y, q.y), zz = hn::Mul(q.z, q.z);
  const V xy = hn::Mul(q.x, q.y), xz = hn::Mul(q.x, q.z), yz = hn::Mul(q.y, q.z);
  const V wx = hn::Mul(q.w, q.x), wy = hn::Mul(q.w, q.y), wz = hn::Mul(q.w, q.z);
  return {{{hn::NegMulAdd(two, hn::Add(yy, zz), one), hn::Mul(two, hn::Add(xy, wz)),
            hn::Mul(two, hn::Sub(xz, wy))},
           {hn::Mul(two, hn::Sub(xy, wz)), hn::NegMulAdd(two, hn::Add(xx, zz), one),
            hn::Mul(two, hn::Add(yz, wx))},
           {hn::Mul(two, hn::Add(xz, wy)), hn::Mul(two, hn::Sub(yz, wx)),
            hn::NegMulAdd(two, hn::Add(xx, yy), one)}}};
}

HWY_INLINE Vector3 scaled(const Vector3& v, V factor) {
  return {hn::Mul(v.x, factor), hn::Mul(v.y, factor), hn::Mul(v.z, factor)};
}

// Σ = M·Mᵀ, M = R·diag(scale).
HWY_INLINE Symmetric3 covariance_of(const Rotation& r, const Vector3& scale) {
  const Vector3 a = scaled(r.column[0], scale.x), b = scaled(r.column[1], scale.y),
                c = scaled(r.column[2], scale.z);
  const Vector3 x{a.x, b.x, c.x}, y{a.y, b.y, c.y}, z{a.z, b.z, c.z};
  return {dot(x, x), dot(x, y), dot(x, z), dot(y, y), dot(y, z), dot(z, z)};
}

// The mean in view space and the local affine approximation of the projection there.
struct View {
  Vector3 mean;
  V inverse_z;
  V tangent_x, tangent_y;  // clamped
  M free_x, free_y;        // not clamped
  Vector3 t0, t1;          // rows of jacobian · rotation
  V focal_x, focal_y;
};
HWY_INLINE View view_of(const RasterizeForward& f, const Vector3& mean) {
  const RasterizeCamera& camera = *f.camera;
  const float* w = camera.world_to_view;
  View v;
  v.mean = {hn::Add(column(mean, w, 0), set(w[12])), hn::Add(column(mean, w, 1), set(w[13])),
            hn::Add(column(mean, w, 2), set(w[14]))};
  v.inverse_z = hn::Div(set(1), v.mean.z);
  v.focal_x = set(f.width / (2 * camera.tan_fov_x));
  v.focal_y = set(f.height / (2 * camera.tan_fov_y));
  const V limit_x = set(kTangentMargin * camera.tan_fov_x), limit_y = set(kTangentMargin * camera.tan_fov_y);
  const V tangent_x = hn::Mul(v.mean.x, v.inverse_z), tangent_y = hn::Mul(v.mean.y, v.inverse_z);
  v.free_x = hn::Le(hn::Abs(tangent_x), limit_x);
  v.free_y = hn::Le(hn::Abs(tangent_y), limit_y);
  v.tangent_x = hn::Min(hn::Max(tangent_x, hn::Neg(limit_x)), limit_x);
  v.tangent_y = hn::Min(hn::Max(tangent_y, hn::Neg(limit_y)), limit_y);
  const V scale_x = hn::Mul(v.focal_x, v.inverse_z), scale_y = hn::Mul(v.focal_y, v.inverse_z);
  const Vector3 forward{set(w[2]), set(w[6]), set(w[10])};
  v.t0 = scaled(
      {hn::NegMulAdd(v.tangent_x, forward.x, set(w[0])), hn::NegMulAdd(v.tangent_x, forward.y, set(w[4])),
       hn::NegMulAdd(v.tangent_x, forward.z, set(w[8]))},
      scale_x);
  v.t1 = scaled(
      {hn::NegMulAdd(v.tangent_y, forward.x, set(w[1])), hn::NegMulAdd(v.tangent_y, forward.y, set(w[5])),
       hn::NegMulAdd(v.tangent_y, forward.z, set(w[9]))},
      scale_y);
  return v;
}

struct Clip {
  V x, y, inverse_w;
};
HWY_INLINE Clip clip_of(const RasterizeCamera& camera, const Vector3& mean) {
  const float* m = camera.full_projection;
  const V w = hn::Add(column(mean, m, 3), set(m[15]));
  return {hn::Add(column(mean, m, 0), set(m[12])), hn::Add(column(mean, m, 1), set(m[13])),
          hn::Div(set(1), hn::Add(w, set(kClipGuard)))};
}

struct Symmetric2 {
  V xx, xy, yy;
  V determinant() const { return hn::NegMulAdd(xy, xy, hn::Mul(xx, yy)); }
};
HWY_INLINE Symmetric2 covariance_2d(const View& v, const Symmetric3& s) {
  const Vector3 s0 = s * v.t0, s1 = s * v.t1;
  return {hn::Add(dot(v.t0, s0), set(kLowPass)), dot(v.t0, s1), hn::Add(dot(v.t1, s1), set(kLowPass))};
}

// The parameters of up to one Gaussian per lane.
struct Shape {
  Rotation rotation;
  Vector3 scale;
  Quaternion quaternion;
  Symmetric3 covariance;
};
HWY_INLINE Shape load_shape(const RasterizeForward& f, int64_t i, size_t count) {
  Shape shape;
  shape.quaternion = load4(f.rotations + 4 * i, count);
  shape.rotation = rotation_of(shape.quaternion);
  shape.scale = load3(f.scales + 3 * i, count);
  shape.covariance = covariance_of(shape.rotation, shape.scale);
  return shape;
}

}  // namespace
}  // namespace eg4d::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
