// From Gaussians in the world to Gaussians in the image and back, one Gaussian per vector lane.

#include <algorithm>
#include <cstring>

#include "backend/cpu/rasterizer.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rasterizer_projection.cpp"
#include "backend/cpu/simd_targets.h"

#include <hwy/foreach_target.h>

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "backend/cpu/gaussian_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eg4d::cpu::HWY_NAMESPACE {
namespace {

constexpr float kNear = 0.2f, kLowPass = 0.3f, kDiscriminantFloor = 0.1f, kTangentMargin = 1.3f;
constexpr float kClipGuard = 1e-7f;
constexpr float kLog2E = 1.4426950408889634f;

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

// Any number of columns through memory, for what is rare.
template <size_t kColumns>
void add_columns(const V (&values)[kColumns], float* rows, size_t count) {
  HWY_ALIGN float lanes[kColumns][16];
  for (size_t k = 0; k < kColumns; ++k) hn::Store(values[k], D(), lanes[k]);
  for (size_t i = 0; i < count; ++i)
    for (size_t k = 0; k < kColumns; ++k) rows[i * kColumns + k] += lanes[k][i];
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

// Tiles [low, high) along one axis that [center - radius, center + radius] touches.
struct TileRange {
  V low, high;
};
HWY_INLINE TileRange square_tiles(V center, V radius, int tiles) {
  const V inverse = set(1.0f / kTile), zero = hn::Zero(D()), most = set(static_cast<float>(tiles));
  const V low = hn::Floor(hn::Mul(hn::Sub(center, radius), inverse));
  const V high = hn::Floor(hn::Mul(hn::Add(hn::Add(center, radius), set(kTile - 1)), inverse));
  return {hn::Min(hn::Max(low, zero), most), hn::Min(hn::Max(high, zero), most)};
}

// Pixels [low, high] inside the image where center ± extent lies, widened by a hundredth of a pixel and what
// rounding can do to the center.
struct PixelRange {
  V low, high;
};
HWY_INLINE PixelRange pixels_within(V center, V extent, int pixels) {
  const V wide = hn::Add(extent, hn::MulAdd(hn::Abs(center), set(3e-7f), set(0.01f)));
  const V zero = hn::Zero(D()), last = set(static_cast<float>(pixels - 1));
  return {hn::Max(hn::Ceil(hn::Sub(center, wide)), zero), hn::Min(hn::Floor(hn::Add(center, wide)), last)};
}

void project_lanes(const RasterizeForward& f, RasterizerContext& context, int64_t first, size_t count) {
  const D d;
  const V zero = hn::Zero(d), one = set(1);
  const Vector3 mean = load3(f.means + 3 * first, count);
  const Vector3 color = load3(f.colors + 3 * first, count);
  const V opacity = load1(f.opacities + first, count);
  const View v = view_of(f, mean);
  const Symmetric2 c = covariance_2d(v, load_shape(f, first, count).covariance);
  const V determinant = c.determinant();
  const V inverse = hn::Div(one, determinant);
  const V middle = hn::Mul(set(0.5f), hn::Add(c.xx, c.yy));
  const V spread =
      hn::Sqrt(hn::Max(set(kDiscriminantFloor), hn::NegMulAdd(one, determinant, hn::Mul(middle, middle))));
  const V radius = hn::Ceil(hn::Mul(set(3), hn::Sqrt(hn::Add(middle, spread))));
  const Clip clip = clip_of(*f.camera, mean);
  const V half = set(0.5f), width = set(f.width), height = set(f.height);
  const V x = hn::Mul(hn::Sub(hn::Mul(hn::MulAdd(clip.x, clip.inverse_w, one), width), one), half);
  const V y = hn::Mul(hn::Sub(hn::Mul(hn::MulAdd(clip.y, clip.inverse_w, one), height), one), half);

  V unfinite = hn::Mul(radius, zero);  // 0, or NaN when something is not finite
  for (const V value : {x, y, v.mean.z, inverse, c.xx, c.xy, c.yy, opacity, color.x, color.y, color.z})
    unfinite = hn::MulAdd(value, zero, unfinite);
  const TileRange across = square_tiles(x, radius, context.tiles_x),
                  down = square_tiles(y, radius, context.tiles_y);
  M visible = hn::And(hn::Gt(v.mean.z, set(kNear)), hn::Eq(unfinite, zero));
  visible = hn::And(visible, hn::And(hn::Lt(across.low, across.high), hn::Lt(down.low, down.high)));

  // How far alpha stays above 1/255, widened by what rounding can do to `fall`, so that leaving out the rest
  // never changes a bit; without a proper ellipse nothing is left out.
  const V log2_opacity = hn::Log2(d, opacity);
  const V reach = hn::Add(log2_opacity, set(7.994353436858858f));  // log2(255)
  const M ellipse = hn::Gt(determinant, zero);
  const V far = set(1e30f);
  const V conditioning = hn::Mul(hn::Mul(c.xx, c.yy), inverse);
  const V safe_reach = hn::IfThenElse(
      ellipse, hn::MulAdd(reach, hn::MulAdd(conditioning, set(4e-6f), set(1.00001f)), set(1e-4f)), far);
  const V square = hn::Mul(safe_reach, set(2 / kLog2E));
  const PixelRange columns = pixels_within(x, hn::Sqrt(hn::Mul(square, c.xx)), f.width);
  const PixelRange rows = pixels_within(y, hn::Sqrt(hn::Mul(square, c.yy)), f.height);
  const V tile_inverse = set(1.0f / kTile);
  const V x0 = hn::Max(across.low, hn::Floor(hn::Mul(columns.low, tile_inverse)));
  const V x1 = hn::Min(across.high, hn::Add(hn::Floor(hn::Mul(columns.high, tile_inverse)), one));
  const V y0 = hn::Max(down.low, hn::Floor(hn::Mul(rows.low, tile_inverse)));
  const V y1 = hn::Min(down.high, hn::Add(hn::Floor(hn::Mul(rows.high, tile_inverse)), one));
  M blended = hn::And(visible, hn::Ge(reach, zero));
  blended = hn::And(blended, hn::And(hn::Le(columns.low, columns.high), hn::Le(rows.low, rows.high)));
  blended = hn::And(blended, hn::And(hn::Lt(x0, x1), hn::Lt(y0, y1)));

  // Four floats of every lane at a time: quarters[k][lane] is the k-th quarter of a ScreenGaussian.
  HWY_ALIGN float quarters[3][16][4];
  const V log2e_det = hn::Mul(set(kLog2E), inverse);
  hn::StoreInterleaved4(x, y, hn::Mul(half, hn::Mul(c.yy, log2e_det)), hn::Neg(hn::Mul(c.xy, log2e_det)), d,
                        quarters[0][0]);
  hn::StoreInterleaved4(hn::Mul(half, hn::Mul(c.xx, log2e_det)), log2_opacity, reach, safe_reach, d,
                        quarters[1][0]);
  hn::StoreInterleaved4(color.x, color.y, color.z, v.mean.z, d, quarters[2][0]);
  const DI di;
  HWY_ALIGN int32_t box[4][16], radii[16], depths[16];
  const V sides[4] = {x0, y0, x1, y1};
  for (int k = 0; k < 4; ++k) hn::Store(hn::ConvertTo(di, hn::IfThenElseZero(blended, sides[k])), di, box[k]);
  hn::Store(hn::ConvertTo(di, hn::IfThenElseZero(visible, hn::Min(radius, set(1073741824.0f)))), di, radii);
  hn::Store(hn::BitCast(di, v.mean.z), di, depths);
  for (size_t lane = 0; lane < count; ++lane) {
    const int64_t i = first + static_cast<int64_t>(lane);
    float* out = &context.gaussians[i].x;
    for (int k = 0; k < 3; ++k) std::memcpy(out + 4 * k, quarters[k][lane], sizeof(quarters[k][lane]));
    context.boxes[i] = {static_cast<uint16_t>(box[0][lane]), static_cast<uint16_t>(box[1][lane]),
                        static_cast<uint16_t>(box[2][lane]), static_cast<uint16_t>(box[3][lane]), 0};
    context.depth_bits[i] = static_cast<uint32_t>(depths[lane]);
    if (f.radii) f.radii[i] = radii[lane];
  }
}

void project_range(const RasterizeForward& f, RasterizerContext& context, int64_t begin, int64_t end) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
  for (int64_t i = begin; i < end; i += lanes)
    project_lanes(f, context, i, static_cast<size_t>(std::min(lanes, end - i)));
}

// ---------------------------------------------------------------- backward

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
  const View v = view_of(f, mean);
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
HWY_EXPORT(project_range);
HWY_EXPORT(project_backward_range);
}  // namespace

void project(const RasterizeForward& forward, RasterizerContext& context, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(project_range)(forward, context, begin, end);
}

void project_backward(const RasterizeBackward& backward, const RasterizerContext& context, int64_t begin,
                      int64_t end) {
  HWY_DYNAMIC_DISPATCH(project_backward_range)(backward, context, begin, end);
}

}  // namespace eg4d::cpu
#endif
